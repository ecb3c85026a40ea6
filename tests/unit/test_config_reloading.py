"""What a running gateway takes of a new file, and what it goes on with."""

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Config

NEW = """
[server]
hostname = "new.example"
state_dir = "new"
secret = "new new new new new new new new new"
workers = 3
hide_client = false
postmaster = "help@example.com"
[[listen]]
port = 25
[accounts]
url = "sqlite:///new.db"
[store]
url = "sqlite:///new.db"
[lockout]
failures = 7
[limits]
recipients = 7
[senders]
envelope = "any"
aliases = "new"
[relay]
next_hop = ["maildir:new"]
[http]
port = 80
[log]
level = "debug"
"""
KEPT = ["listen", "accounts", "store", "http"]


def load(folder: Path, text: str) -> Config:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return config.load(path, {})


def test_what_was_opened_at_the_start_stays_and_the_rest_is_taken(tmp_path: Path) -> None:
    old, new = load(tmp_path, ""), load(tmp_path, NEW)
    taken, waiting = config.reloaded(old, new)
    assert all(getattr(taken, table) == getattr(old, table) for table in KEPT)
    assert taken.server == old.server.model_copy(update={"hide_client": False})
    assert (taken.senders.aliases, taken.senders.envelope) == ("", "any")
    assert all(getattr(taken, table) == getattr(new, table) for table in ("tls", "lockout", "limits", "relay", "log"))
    assert taken.path == old.path
    assert waiting == [
        *KEPT,
        *(f"server.{key}" for key in ("hostname", "state_dir", "workers", "secret", "postmaster")),
        "senders.aliases",
    ]


@pytest.mark.parametrize(
    "text", ["", "[limits]\nrecipients = 7", "[server]\nhide_client = false", '[senders]\nenvelope = "any"']
)
def test_what_is_taken_waits_for_nothing(tmp_path: Path, text: str) -> None:
    old, new = load(tmp_path, ""), load(tmp_path, text)
    assert config.reloaded(old, new) == (new, [])


def test_a_change_waits_until_it_is_taken_back(tmp_path: Path) -> None:
    first, changed = load(tmp_path, ""), load(tmp_path, "[http]\nport = 80")
    running = first
    for _ in range(2):
        running, waiting = config.reloaded(running, changed)
        assert waiting == ["http"]
    assert config.reloaded(running, first) == (first, [])
