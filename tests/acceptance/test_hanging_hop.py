"""A next hop that takes mail and never answers, while its connections stay good: other mail goes to the second hop."""

from pathlib import Path

from gateway.relay.places import HANGS
from tests.acceptance.conftest import Install
from tests.acceptance.mail import message, submit
from tests.acceptance.smarthost import SILENCE, Smarthost
from tests.acceptance.test_wrong_clocks import WrongClock, wrong_clock
from tests.acceptance.waiting import until

__all__ = ["wrong_clock"]


def test_mail_goes_to_the_second_hop_when_the_first_hangs(install: Install, wrong_clock: Path, tmp_path: Path) -> None:
    clock = WrongClock(wrong_clock, tmp_path / "clock", 0)
    with Smarthost() as first, Smarthost() as second:
        gateway = install(relay={"next_hop": [first.url, second.url], "connections": 2, "retry": ["1s"]})
        gateway.under = clock.under
        gateway.start()
        first.replies = {b".": SILENCE}
        for name in ("hangs1", "hangs2"):
            submit(gateway, message(name))
        until(lambda: len(first.deliveries) == 2, gateway.story)
        submit(gateway, message("in line"))
        clock.put_forward(int(HANGS) + 5)

        until(lambda: len(second.deliveries) == 1, gateway.story)
        (down,) = gateway.logged("hop down")
        assert down["reason"] == "all 2 connections have waited for an answer for more than a minute"
        first.replies = {}
        first.say(b"250 2.0.0 queued\r\n")
        gateway.until_logged("hop up")
        gateway.until_logged("delivered", 3)
        submit(gateway, message("afterwards"))
        until(lambda: len(first.deliveries) == 3, gateway.story)
        assert len(second.deliveries) == 1
