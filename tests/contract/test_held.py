"""Holding back and letting go, in every Outbox: for an account that is disabled, and by an operator's hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.queue.model import Record, Result, State
from tests.contract.outboxes import (
    SUBJECTS,
    TO,
    Subject,
    again,
    counts,
    delivered,
    failed,
    leased,
    new,
    outcome,
    record,
    subject_of,
    take,
)


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with subject_of(request, tmp_path) as subject:
        yield subject


def held_back(subject: Subject, id_: str = "0000000000000001", account: str = "7") -> list[int]:
    """Two recipients of a message, held for their account; their numbers."""
    message = leased(subject, new(id_, account=account))
    assert subject.wait(subject.outbox.hold_back(message.recipients)) == 2
    return [one.id for one in message.recipients]


def accounts(subject: Subject) -> set[str]:
    return subject.wait(subject.outbox.held_accounts())


def test_what_is_held_back_is_not_taken_and_not_ours(subject: Subject) -> None:
    message = leased(subject)
    assert subject.wait(subject.outbox.hold_back(message.recipients)) == 2
    subject.pass_time(1e6)
    assert take(subject) == []
    assert subject.wait(subject.outbox.overdue(10, warn_after=1.0, give_up=2.0)) == []
    assert subject.wait(subject.outbox.next_due()) is None
    assert subject.wait(subject.outbox.still_ours(message.recipients)) == []
    assert counts(subject) == (0, 0, 0, 2)
    assert accounts(subject) == {"7"}


def test_some_of_a_message(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    assert subject.wait(subject.outbox.hold_back([to])) == 1
    assert subject.wait(subject.outbox.still_ours([to, blind])) == [blind]
    record(subject, delivered(blind))
    assert counts(subject) == (0, 0, 0, 1)


def test_only_what_is_leased_to_us_is_held_back(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    record(subject, again(to, 0.0))
    subject.delete(blind.id)
    assert subject.wait(subject.outbox.hold_back([to, blind])) == 0
    assert counts(subject) == (0, 1, 0, 0)


def test_once_its_account_is_enabled_it_is_due_at_once_as_it_was(subject: Subject) -> None:
    to, _ = leased(subject).recipients
    record(subject, again(to, 0.0, warned=True))
    [message] = take(subject)
    subject.wait(subject.outbox.hold_back(message.recipients))
    assert subject.wait(subject.outbox.let_go("7", 10)) == 1
    [back] = take(subject)
    assert back.recipients == message.recipients
    assert accounts(subject) == set()


def test_only_the_account_that_is_meant_and_in_steps(subject: Subject) -> None:
    held_back(subject, "0000000000000001", "7")
    held_back(subject, "0000000000000002", "8")
    held_back(subject, "0000000000000003", "8")
    assert accounts(subject) == {"7", "8"}
    assert [subject.wait(subject.outbox.let_go("8", 3)) for _ in range(3)] == [3, 1, 0]
    assert sorted(message.id[-1] for message in take(subject)) == ["2", "3"]
    assert accounts(subject) == {"7"}
    assert subject.wait(subject.outbox.let_go("9", 10)) == 0


def test_what_an_operator_holds_is_not_let_go_with_its_account(subject: Subject) -> None:
    by_account, by_operator = held_back(subject)
    subject.hold(by_operator)
    assert subject.wait(subject.outbox.let_go("7", 10)) == 1
    assert [one.id for message in take(subject) for one in message.recipients] == [by_account]
    assert accounts(subject) == set()
    subject.release(by_operator)
    [message] = take(subject)
    assert [(one.id, one.released) for one in message.recipients] == [(by_operator, False)]


def test_what_an_operator_releases_is_known_as_released_from_then_on(subject: Subject) -> None:
    first, second = held_back(subject)
    subject.release(first)
    assert accounts(subject) == {"7"}  # because of the second
    for _ in range(2):
        [message] = take(subject)
        assert [(one.id, one.released) for one in message.recipients] == [(first, True)]
        record(subject, *(again(one, 0.0) for one in message.recipients))
    subject.release(second)
    assert accounts(subject) == set()


@pytest.mark.parametrize("result", list(Result))
def test_what_an_operator_holds_while_it_is_under_way(subject: Subject, result: Result) -> None:
    """No more is begun with it; but when it has arrived it has arrived, or it would arrive twice."""
    [one] = leased(subject, new("0000000000000001", TO)).recipients
    subject.hold(one.id)
    assert subject.wait(subject.outbox.still_ours([one])) == []
    assert counts(subject) == (0, 0, 0, 1)
    given = {Result.DELIVERED: delivered(one), Result.FAILED: failed(one), Result.RETRY: again(one, 0.0)}
    record(subject, given[result])
    assert take(subject) == []
    assert counts(subject) == (0, 0, 0, int(result is Result.RETRY))
    if result is Result.RETRY:
        subject.release(one.id)
        assert take(subject)[0].recipients[0].attempts == 1


def test_held_and_released_while_it_is_under_way_it_goes_on(subject: Subject) -> None:
    [one] = leased(subject, new("0000000000000001", TO)).recipients
    subject.hold(one.id)
    subject.release(one.id)
    assert subject.wait(subject.outbox.still_ours([one])) == [one]
    assert take(subject) == []
    record(subject, Record(outcome(one, Result.DELIVERED), State.DELIVERED))
    assert counts(subject) == (0, 0, 0, 0)


def test_the_lease_of_a_held_one_given_back_untried_leaves_it_held(subject: Subject) -> None:
    [one] = leased(subject, new("0000000000000001", TO)).recipients
    subject.hold(one.id)
    subject.wait(subject.outbox.release([one]))
    assert take(subject) == []
    assert counts(subject) == (0, 0, 0, 1)


def test_what_an_operator_holds_just_before_it_is_held_back_is_the_operator_s_and_strands_nowhere(subject: Subject) -> None:
    [one] = leased(subject, new("0000000000000001", TO)).recipients
    subject.hold(one.id)
    assert subject.wait(subject.outbox.hold_back([one])) == 1
    assert accounts(subject) == set()
    subject.release(one.id)
    assert [message.recipients[0].id for message in take(subject)] == [one.id]


def test_held_ones_can_be_deleted(subject: Subject) -> None:
    first, second = held_back(subject)
    subject.delete(first)
    subject.hold(second)
    subject.delete(second)
    assert counts(subject) == (0, 0, 0, 0)
    assert accounts(subject) == set()
