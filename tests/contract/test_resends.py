"""The resend guard of every Outbox: what a client sends again because it lost the 250 is queued and charged once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.queue.allowance import Denied, OnLimit, Terms
from gateway.queue.model import Added, Duplicate, Field, NewMessage, NewRecipient, Queued, Recipient
from tests.contract.outboxes import (
    BLIND,
    ENVELOPE,
    SUBJECTS,
    Subject,
    add,
    again,
    counts,
    delivered,
    failed,
    leased,
    new,
    record,
    subject_of,
    take,
)
from tests.pump import deferred

FIRST, SECOND, THIRD = (f"000000000000000{n}" for n in (1, 2, 3))
MANY = Terms(1000, OnLimit.DEFER)


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with subject_of(request, tmp_path) as subject:
        yield subject


def keyed(id_: str, key: str = "k", terms: Terms | None = MANY) -> NewMessage:
    return new(id_, terms=terms, key=key)


def test_what_comes_again_is_neither_queued_nor_charged(subject: Subject) -> None:
    leased(subject, keyed(FIRST))
    before = subject.used("7")
    assert add(subject, keyed(SECOND)) == Duplicate(FIRST)
    assert add(subject, keyed(THIRD), lease=True) == Duplicate(FIRST)
    assert counts(subject) == (0, 0, 2, 0)
    assert subject.used("7") == before
    assert isinstance(add(subject, new(SECOND)), Queued)  # nothing of it is left


def test_two_at_once_make_one(subject: Subject) -> None:
    both = [deferred(subject.outbox.add(keyed(id_), lease=False)) for id_ in (FIRST, SECOND)]
    first, second = map(subject.wait, both)
    assert isinstance(first, Queued)
    assert second == Duplicate(FIRST)
    assert subject.used("7")[0][0] == 1


@pytest.mark.parametrize(("one", "other"), [("k", "l"), ("", ""), ("k", "")])
def test_another_key_or_none_is_another_message(subject: Subject, one: str, other: str) -> None:
    assert isinstance(add(subject, keyed(FIRST, one)), Queued)
    assert isinstance(add(subject, keyed(SECOND, other)), Queued)
    assert len(take(subject)) == 2


def test_it_stands_for_ten_minutes(subject: Subject) -> None:
    add(subject, keyed(FIRST))
    subject.pass_time(500.0)
    assert add(subject, keyed(SECOND)) == Duplicate(FIRST)
    subject.pass_time(101.0)  # counted from the first, not from the last time it came
    assert isinstance(add(subject, keyed(SECOND)), Queued)
    assert add(subject, keyed(THIRD)) == Duplicate(SECOND)
    assert subject.used("7")[0][0] == 2


def test_whom_the_account_wrote_to_lately(subject: Subject) -> None:
    def lately(account: str, sender: str, recipient: str) -> bool:
        return subject.wait(subject.ledger.sent_lately(account, sender, recipient))

    add(subject, keyed(FIRST))
    add(subject, new(SECOND, NewRecipient("other@example.net", Field.TO)))  # without a key it is never known again
    sender, to = ENVELOPE.sender, BLIND.address
    assert lately("7", sender, to)
    assert not lately("8", sender, to)
    assert not lately("7", "", to)
    assert not lately("7", sender, "other@example.net")
    subject.pass_time(601.0)
    assert not lately("7", sender, to)


Spoil = Callable[[Subject, Recipient], object]


def held_for_its_account(subject: Subject, one: Recipient) -> None:
    subject.wait(subject.outbox.hold_back([one]))


def let_go(subject: Subject, one: Recipient) -> None:
    subject.hold(one.id)
    subject.release(one.id)


SPOILT: dict[str, Spoil] = {
    "failed": lambda subject, one: record(subject, failed(one)),
    "held": lambda subject, one: subject.hold(one.id),
    "held for its account": held_for_its_account,
    "deleted": lambda subject, one: subject.delete(one.id),
}
STANDS: dict[str, Spoil] = {
    "delivered": lambda subject, one: record(subject, delivered(one)),
    "to be tried again": lambda subject, one: record(subject, again(one, 60.0)),
    "let go": let_go,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_once_a_recipient_needs_it_sending_again_is_meant(subject: Subject, spoil: Spoil) -> None:
    _, blind = leased(subject, keyed(FIRST)).recipients
    spoil(subject, blind)
    assert isinstance(add(subject, keyed(SECOND)), Queued)
    assert add(subject, keyed(THIRD)) == Duplicate(SECOND)
    assert subject.used("7")[0][0] == 2


@pytest.mark.parametrize("change", STANDS.values(), ids=STANDS)
def test_else_it_stands(subject: Subject, change: Spoil) -> None:
    to, blind = leased(subject, keyed(FIRST)).recipients
    change(subject, to)
    change(subject, blind)
    assert add(subject, keyed(SECOND)) == Duplicate(FIRST)


def test_what_is_denied_does_not_count_as_the_first(subject: Subject) -> None:
    assert isinstance(add(subject, keyed(FIRST, terms=Terms(1, OnLimit.DEFER))), Denied)
    assert isinstance(add(subject, keyed(SECOND)), Queued)
    assert add(subject, keyed(THIRD)) == Duplicate(SECOND)


def test_what_comes_again_is_known_even_when_the_account_may_send_no_more(subject: Subject) -> None:
    """Its client has lost the 250 only, and must not be told that the message was refused."""
    full = Terms(2, OnLimit.SUSPEND)
    add(subject, keyed(FIRST, terms=full))
    assert isinstance(add(subject, keyed(SECOND, "l", terms=full)), Denied)
    assert add(subject, keyed(SECOND, terms=full)) == Duplicate(FIRST)


def test_what_could_not_be_written_does_not_count_as_the_first(subject: Subject) -> None:
    add(subject, new(FIRST))
    with pytest.raises(Unavailable):
        add(subject, keyed(FIRST))  # an id that is there
    answer: Added = add(subject, keyed(SECOND))
    assert isinstance(answer, Queued)
    assert subject.used("7")[0][0] == 1
