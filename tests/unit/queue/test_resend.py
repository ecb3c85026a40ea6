"""What makes two submissions the same one: each part of the key, and none that a client may change when it sends again."""

from dataclasses import replace

import pytest

from gateway.queue.model import Envelope, Field, NewRecipient
from gateway.queue.resend import resend_key

ENVELOPE = Envelope("a@x.example")
ONE = NewRecipient("one@y.example", Field.TO)
TWO = NewRecipient("two@y.example", Field.BCC, "NEVER", "rfc822;two@y.example")
KEY = resend_key("1", ENVELOPE, [ONE, TWO], b"digest")


def test_the_key_is_what_earlier_versions_have_stored() -> None:
    assert KEY == "0f87c2ae3b919dfa41111e080094eab48f920f3198fdb15523eca5bf99fa3a1c"


def test_the_order_of_recipients_and_what_was_said_of_the_body_do_not_count() -> None:
    assert resend_key("1", replace(ENVELOPE, eight_bit=True), [TWO, ONE], b"digest") == KEY


@pytest.mark.parametrize(
    "other",
    [
        resend_key("2", ENVELOPE, [ONE, TWO], b"digest"),
        resend_key("1", replace(ENVELOPE, sender="b@x.example"), [ONE, TWO], b"digest"),
        resend_key("1", replace(ENVELOPE, ret="FULL"), [ONE, TWO], b"digest"),
        resend_key("1", replace(ENVELOPE, envid="x"), [ONE, TWO], b"digest"),
        resend_key("1", ENVELOPE, [ONE], b"digest"),
        resend_key("1", ENVELOPE, [ONE, replace(TWO, notify="")], b"digest"),
        resend_key("1", ENVELOPE, [ONE, replace(TWO, orcpt="")], b"digest"),
        resend_key("1", ENVELOPE, [ONE, TWO], b"another"),
        resend_key("1", replace(ENVELOPE, ret="x", envid=""), [ONE, TWO], b"digest"),
    ],
)
def test_everything_else_does(other: str) -> None:
    assert other != KEY


def test_letters_cannot_move_from_one_part_to_the_next() -> None:
    one = resend_key("1", Envelope("a", ret="bc"), [], b"")
    assert one != resend_key("1", Envelope("ab", ret="c"), [], b"")
    assert one != resend_key("1a", Envelope("", ret="bc"), [], b"")
