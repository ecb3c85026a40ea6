"""How many reports one message's failed blind recipients make: the same in the store and in the fake."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.queue.model import (
    MAX_BLIND_REPORTS,
    Envelope,
    Field,
    Inline,
    NewMessage,
    NewRecipient,
    Recipient,
    Record,
    Recorded,
)
from tests.contract.outboxes import SUBJECTS, Subject, again, delivered, failed, leased, new, subject_of, take


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with subject_of(request, tmp_path) as subject:
        yield subject


def report(id_: str, about: str) -> NewMessage:
    to = NewRecipient("me@example.com", Field.TO, "NEVER")
    return NewMessage(id_, "", Envelope(""), about.encode() + b"\r\n\r\n", Inline(b""), (to,))


def summary(count: int) -> NewMessage:
    return report("RMORE00000000000", f"{count} more")


def settle(subject: Subject, record: Record, *, told: bool = True) -> Recorded:
    reports = [report(f"R{record.outcome.recipient.id:015}", "one")] if told else []
    return subject.wait(subject.outbox.record([record], reports, summary))


def blind(count: int, notify: str = "") -> list[NewRecipient]:
    return [NewRecipient(f"b{n}@example.net", Field.BCC, notify) for n in range(count)]


def queued_reports(subject: Subject) -> list[str]:
    return sorted(message.header.decode().strip() for message in take(subject, 200) if not message.account_id)


def fail(subject: Subject, recipients: Sequence[Recipient]) -> list[Recorded]:
    return [settle(subject, failed(one)) for one in recipients]


def test_as_many_as_allowed_have_a_report_each_and_no_more(subject: Subject) -> None:
    recorded = fail(subject, leased(subject, new("M", *blind(MAX_BLIND_REPORTS))).recipients)
    assert all(not each.unsent and each.more == 0 for each in recorded)
    assert queued_reports(subject) == ["one"] * MAX_BLIND_REPORTS


def test_past_that_one_report_tells_how_many_more(subject: Subject) -> None:
    recorded = fail(subject, leased(subject, new("M", *blind(MAX_BLIND_REPORTS + 7))).recipients)
    assert [len(each.unsent) for each in recorded] == [0] * MAX_BLIND_REPORTS + [1] * 7
    assert [each.more for each in recorded] == [0] * (MAX_BLIND_REPORTS + 6) + [7]
    assert queued_reports(subject) == ["7 more", *["one"] * MAX_BLIND_REPORTS]


def test_retries_and_deliveries_in_between_make_no_difference(subject: Subject) -> None:
    message = leased(subject, new("M", NewRecipient("to@example.net", Field.TO), *blind(MAX_BLIND_REPORTS + 5)))
    to, first, *others = message.recipients
    fail(subject, others[:-2])
    settle(subject, again(first, 60.0), told=False)
    settle(subject, again(to, 60.0), told=False)
    settle(subject, delivered(others[-2]), told=False)
    fail(subject, others[-1:])
    assert queued_reports(subject) == ["one"] * MAX_BLIND_REPORTS
    subject.pass_time(100.0)
    [back] = [each for each in take(subject, 200) if each.id == "M"]
    to, first = back.recipients
    assert settle(subject, failed(first)).more == 0  # the message still waits
    assert queued_reports(subject) == []
    assert settle(subject, delivered(to), told=False).more == 4
    assert queued_reports(subject) == ["4 more"]


def test_other_messages_have_their_own_count(subject: Subject) -> None:
    one, other = (leased(subject, new(id_, *blind(MAX_BLIND_REPORTS))) for id_ in ("M1", "M2"))
    fail(subject, one.recipients)
    fail(subject, other.recipients)
    assert queued_reports(subject) == ["one"] * 2 * MAX_BLIND_REPORTS


def test_who_wants_no_report_of_a_failure_is_not_counted(subject: Subject) -> None:
    quiet = [*blind(15, "NEVER"), *blind(15, "SUCCESS,DELAY")]
    message = leased(subject, new("M", *quiet, *blind(MAX_BLIND_REPORTS, "FAILURE,DELAY")))
    for one in message.recipients[:30]:
        settle(subject, failed(one), told=False)
    assert fail(subject, message.recipients[30:])[-1].more == 0
    assert queued_reports(subject) == ["one"] * MAX_BLIND_REPORTS


def test_those_written_down_together_are_counted_together(subject: Subject) -> None:
    message = leased(subject, new("M", *blind(MAX_BLIND_REPORTS + 10)))
    waiting = [subject.outbox.record([failed(one)], [report(f"R{one.id:015}", "one")], summary) for one in message.recipients]
    recorded = [subject.wait(each) for each in waiting]
    assert sum(len(each.unsent) for each in recorded) == 10
    assert sum(each.more for each in recorded) == 10
    assert queued_reports(subject) == ["10 more", *["one"] * MAX_BLIND_REPORTS]


def test_a_report_on_a_late_outcome_keeps_its_body(subject: Subject) -> None:
    """The commit that looked failed may have come through: then the report is queued, and named by its row."""
    (one,) = leased(subject, new("M", *blind(1))).recipients
    settle(subject, failed(one))
    again_told = settle(subject, failed(one))
    assert again_told.late == {one.id}
    assert not again_told.unsent
    assert again_told.more == 0
    assert queued_reports(subject) == ["one"]
