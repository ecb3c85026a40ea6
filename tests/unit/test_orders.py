"""What goes through the pipes between parent and workers comes out as it went in."""

from pathlib import Path

import pytest

from gateway import config
from gateway.orders import Begin, Channel, Leave, Order, Reload, Report, answer_frame, order_frame, read_answer, read_order
from gateway.share import Share

SETTINGS = """
[server]
workers = 3
secret = "the seal"
[accounts]
url = "postgresql://app:hunter2@db/app"
[lockout]
allow = ["192.0.2.0/24"]
[relay]
next_hop = ["smtp://user:hunter2@smart.example.net:587", "maildir:var/mail"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    path = tmp_path / "gateway.toml"
    path.write_text(SETTINGS, "utf-8")
    return config.load(path, {})


def test_settings_arrive_whole_without_their_file(settings: config.Config) -> None:
    settings.path.unlink()
    frame = order_frame(7, Begin(settings, Share(2, 3), b"key", "log"))
    number, order = read_order(frame)
    assert isinstance(order, Begin)
    assert (number, order) == (7, Begin(settings, Share(2, 3), b"key", "log"))
    assert order.settings.path == settings.path
    assert order.settings.accounts.url.get_secret_value() == "postgresql://app:hunter2@db/app"
    assert order.settings.relay.next_hop == settings.relay.next_hop


def test_an_order_that_is_printed_has_no_secret(settings: config.Config) -> None:
    for order in (Begin(settings, Share(1, 2), b"key", ""), Reload(settings)):
        assert not any(secret in repr(order) for secret in ("hunter2", "the seal", "b'key'"))


@pytest.mark.parametrize("order", [Report(), Leave()])
def test_short_orders(order: Order) -> None:
    assert read_order(order_frame(0, order)) == (0, order)


def test_answers() -> None:
    said = {"figures": [["name", "counter", "text", [["name_total", {"label": "ä"}, 1.5]]]]}
    assert read_answer(answer_frame(3, said)) == (3, said)


def test_a_frame_past_the_limit_is_not_taken() -> None:
    heard: list[bytes] = []
    channel = Channel(heard.append, lambda: None)
    channel.makeConnection(Hung())  # type: ignore[no-untyped-call]
    channel.receive(b"\xff\xff\xff\xff" + b"x" * 100)
    assert heard == []


class Hung:
    """A transport that is only closed."""

    def loseConnection(self) -> None:
        return
