"""The account of kills that acceptance tests keep: it finds what is missing, and lets nothing come twice without its reason."""

import pytest

from tests.acceptance.deliveries import HOP, Kill, missing, repeats
from tests.acceptance.journal_hop import Entry, read


def _got(at: int, queue_id: str = "Q", hello: str = "one.example", event: str = "got") -> Entry:
    return Entry(at, event, "m", "bob@example.net", whole=True, queue_id=queue_id, hello=hello, since=at - 3)


@pytest.mark.parametrize(
    ("second", "kill", "why"),
    [
        (_got(20), Kill(HOP, 12, 14), "reply lost"),
        (_got(20), Kill("one.example", 12, 14), "died after the reply"),
        (_got(20, hello="two.example"), Kill("one.example", 9, 11), "died after the reply"),
        (_got(20), Kill("one.example", 4, 7), "died after the reply"),  # it was read from the dead
        (_got(20), Kill("one.example", 4, 6), "for no reason"),
        (_got(20), Kill("two.example", 12, 14), "for no reason"),
        (_got(20), Kill("store", 12, 14), "for no reason"),
        (_got(20), Kill(HOP, 5, 9), "for no reason"),
        (_got(20), Kill(HOP, 21, 22), "for no reason"),
        (_got(20, queue_id="R"), Kill(HOP, 12, 14), "queued twice"),
    ],
)
def test_why_a_message_came_again(second: Entry, kill: Kill, why: str) -> None:
    entries = [_got(10), _got(11, event="said"), second]
    assert [(reason, before.at, after.at) for reason, before, after in repeats(entries, [kill])] == [(why, 10, 20)]


def test_what_comes_once_is_no_repeat_and_what_does_not_is_missing() -> None:
    entries = [_got(10), _got(11, event="said")]
    assert list(repeats(entries, [])) == []
    assert missing(entries, {"m", "n"}, ["bob@example.net"]) == [("n", "bob@example.net")]
    assert missing(entries, {"m"}, ["bob@example.net", "blind@example.net"]) == [("m", "blind@example.net")]


_HEADER = b"Received: by gateway.example\r\n\tid Q1; Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m@load.example>\r\n"
_LINE = b"m is the name in each of these lines\r\n"


@pytest.mark.parametrize(
    ("lines", "body", "whole"),
    [(2, _LINE * 2, True), (2, _LINE, False), (1, _LINE.replace(b"m", b"n", 1), False), (1, _LINE[:-2], False)],
)
def test_whether_what_came_is_whole(lines: int, body: bytes, *, whole: bool) -> None:
    assert read(_HEADER + b"X-Lines: %d\r\n\r\n" % lines + body) == ("m", whole, "Q1")
