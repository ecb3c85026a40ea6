"""What every Outbox does: the one of our store and the fake that other tests use."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unavailable
from gateway.queue.model import Envelope, Field, Inline, NewMessage, NewRecipient, QueuedMessage, Recipient, Spooled
from tests.contract.outboxes import (
    ENVELOPE,
    HEADER,
    SUBJECTS,
    FakeSubject,
    Subject,
    again,
    counts,
    delivered,
    failed,
    leased,
    new,
    record,
    sql_subject,
    subject_of,
    take,
)
from tests.queued import queued
from tests.servers.databases import Postgresql
from tests.stores import postgresql_url, store_url


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with subject_of(request, tmp_path) as subject:
        yield subject


def test_a_leased_message_is_handed_back_whole_and_to_nobody_else(subject: Subject) -> None:
    message = leased(subject)
    assert (message.id, message.account_id, message.envelope, message.header) == (new().id, "7", ENVELOPE, HEADER)
    assert message.body == Inline(b"Hello\x00\r\n")
    assert [(r.address, r.field, r.notify, r.orcpt, r.attempts, r.delay_warned) for r in message.recipients] == [
        ("You@Example.NET", Field.TO, "FAILURE,DELAY", "rfc822;you@example.net", 0, False),
        ("blind@example.org", Field.BCC, "", "", 0, False),
    ]
    assert take(subject) == []
    assert counts(subject) == (0, 0, 2, 0)


def test_an_unleased_message_is_taken_as_it_was_added(subject: Subject) -> None:
    added = queued(subject.wait(subject.outbox.add(new(), lease=False)))
    assert added.recipients == ()
    assert counts(subject) == (2, 0, 0, 0)
    [message] = take(subject)
    assert (message.id, message.account_id, message.envelope, message.header) == (new().id, "7", ENVELOPE, HEADER)
    assert message.body == Inline(b"Hello\x00\r\n")
    assert [r.address for r in message.recipients] == ["You@Example.NET", "blind@example.org"]
    assert take(subject) == []


def test_a_spooled_body_is_named_not_read(subject: Subject) -> None:
    body = Spooled("0000000000000001", 70_000)
    subject.wait(subject.outbox.add(new(body=body), lease=False))
    assert take(subject)[0].body == body


def test_an_id_that_is_there_already_is_refused(subject: Subject) -> None:
    leased(subject)
    with pytest.raises(Unavailable):
        leased(subject)
    assert counts(subject) == (0, 0, 2, 0)


def test_take_is_bounded_and_oldest_first(subject: Subject) -> None:
    for n in range(5):
        subject.wait(subject.outbox.add(new(f"000000000000000{9 - n}"), lease=False))
        subject.pass_time(1.0)
    assert [m.id[-1] for m in take(subject, 2)] == ["9", "8"]
    assert [m.id[-1] for m in take(subject, 10)] == ["7", "6", "5"]


def test_age_counts_from_acceptance(subject: Subject) -> None:
    assert leased(subject).age == 0.0
    subject.wait(subject.outbox.release(leased(subject, new("0000000000000002")).recipients))
    subject.pass_time(100.0)
    [message] = take(subject)
    assert message.age == pytest.approx(100.0, abs=30)
    assert subject.wait(subject.outbox.counts()).oldest == pytest.approx(100.0, abs=30)


def test_a_retry_comes_back_when_it_is_due_with_its_count(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    assert record(subject, again(to, 60.0, warned=True), delivered(blind)) == []
    assert take(subject) == []
    assert counts(subject) == (0, 1, 0, 0)
    assert subject.wait(subject.outbox.next_due()) == pytest.approx(60.0, abs=30)
    subject.pass_time(100.0)
    assert subject.wait(subject.outbox.next_due()) == pytest.approx(-40.0, abs=30)
    [message] = take(subject)
    [back] = message.recipients
    assert (back.id, back.address, back.attempts, back.delay_warned) == (to.id, to.address, 1, True)
    record(subject, again(back, 0.0))
    assert take(subject)[0].recipients[0].delay_warned  # a warning once sent stays sent


def test_an_attempt_that_reached_no_hop_is_not_counted(subject: Subject) -> None:
    to, _ = leased(subject).recipients
    record(subject, again(to, 0.0, burns=False))
    assert take(subject)[0].recipients[0].attempts == 0


def test_overdue_takes_only_messages_whose_sender_has_to_hear(subject: Subject) -> None:
    def overdue() -> list[str]:
        return [m.id[-1] for m in subject.wait(subject.outbox.overdue(10, warn_after=1000.0, give_up=5000.0))]

    leased(subject, new("0000000000000001"))
    record(subject, *(again(r, 0.0, warned=True) for r in leased(subject, new("0000000000000002")).recipients))
    record(subject, *(again(r, 0.0) for r in leased(subject, new("0000000000000003")).recipients))
    assert overdue() == []
    subject.pass_time(2000.0)
    assert overdue() == ["3"]  # of the others, one is ours and one warned
    assert overdue() == []
    subject.pass_time(4000.0)
    assert overdue() == ["2"]


def test_what_is_to_be_given_up_is_overdue_without_a_warning(subject: Subject) -> None:
    for n in (1, 2):
        warned = n == 2
        record(subject, *(again(r, 0.0, warned=warned) for r in leased(subject, new(f"000000000000000{n}")).recipients))
    subject.pass_time(2000.0)
    taken = subject.wait(subject.outbox.overdue(10, warn_after=5000.0, give_up=1000.0))
    assert {m.id[-1] for m in taken} == {"1", "2"}


def test_the_oldest_counts_whether_its_sender_was_warned_or_not(subject: Subject) -> None:
    def oldest() -> float:
        return subject.wait(subject.outbox.counts()).oldest

    assert oldest() == 0.0
    record(subject, *(again(r, 0.0, warned=True) for r in leased(subject, new("0000000000000001")).recipients))
    subject.pass_time(1000.0)
    message = leased(subject, new("0000000000000002"))
    assert oldest() == pytest.approx(1000.0, abs=30)
    record(subject, *(delivered(r) for m in take(subject, 1) for r in m.recipients))
    subject.pass_time(500.0)
    assert oldest() == pytest.approx(500.0, abs=30)  # of one that is under way
    record(subject, *map(delivered, message.recipients))
    assert oldest() == 0.0


def test_next_due_is_none_when_nobody_waits(subject: Subject) -> None:
    assert subject.wait(subject.outbox.next_due()) is None
    leased(subject)
    assert subject.wait(subject.outbox.next_due()) is None


def test_the_body_goes_with_the_last_recipient(subject: Subject) -> None:
    body = Spooled("0000000000000001", 70_000)
    to, blind = leased(subject, new(body=body)).recipients
    assert record(subject, delivered(to)) == []
    assert record(subject, failed(blind)) == [body]
    assert counts(subject) == (0, 0, 0, 0)
    assert take(subject) == []


def test_both_in_one_record_drop_the_body_once(subject: Subject) -> None:
    body = Spooled("0000000000000001", 70_000)
    message = leased(subject, new(body=body))
    assert record(subject, *map(delivered, message.recipients)) == [body]


def test_reports_are_queued_with_the_outcome_they_are_about(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    report = NewMessage(
        "0000000000000009", "", Envelope(""), b"\r\n", Inline(b"sorry"), (NewRecipient("me@example.com", Field.TO),)
    )
    record(subject, failed(to), delivered(blind), reports=[report])
    [message] = take(subject)
    assert (message.id, message.envelope.sender, message.account_id) == ("0000000000000009", "", "")


def test_released_ones_are_due_at_once_and_uncounted(subject: Subject) -> None:
    message = leased(subject)
    subject.wait(subject.outbox.release(message.recipients))
    [back] = take(subject)
    assert back.recipients == message.recipients


def test_a_disowned_message_is_found_and_no_other_one(subject: Subject) -> None:
    leased(subject, new("0000000000000001"))
    leased(subject, new("0000000000000002"))
    subject.wait(subject.outbox.disown("0000000000000002"))
    subject.wait(subject.outbox.disown("0000000000000003"))  # was not committed
    assert [message.id for message in take(subject)] == ["0000000000000002"]


def test_disowning_makes_nothing_due_that_is_not(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    record(subject, delivered(to), again(blind, 60.0))
    subject.wait(subject.outbox.disown(new().id))
    assert take(subject) == []


def test_a_late_outcome_changes_nothing(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    record(subject, again(to, 3600.0), delivered(blind))
    report = new("0000000000000009")
    late = subject.wait(subject.outbox.record([delivered(to), failed(blind)], [report]))
    assert (list(late.bodies), set(late.late)) == ([], {to.id, blind.id})
    assert counts(subject) == (0, 1, 0, 0)
    assert take(subject) == []  # no report either


def test_a_deleted_recipient_is_no_longer_ours_and_stays_deleted(subject: Subject) -> None:
    to, blind = leased(subject).recipients
    assert subject.wait(subject.outbox.still_ours([to, blind])) == [to, blind]
    subject.delete(to.id)
    assert subject.wait(subject.outbox.still_ours([to, blind])) == [blind]
    assert subject.wait(subject.outbox.record([again(to, 0.0), again(blind, 0.0)], [])).late == {to.id}
    assert [m.recipients[0].id for m in take(subject)] == [blind.id]


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add leased", "take", "deliver", "retry", "release", "fail"]), st.integers(0, 5)),
    max_size=25,
)


def lose_nobody(subject: Subject, steps: Sequence[Step]) -> None:
    """Whatever the order of events, each recipient is waiting, ours, or finished; and is finished once."""
    waiting: set[int] = set()
    ours: dict[int, Recipient] = {}
    finished: list[int] = []
    accepted = 0

    def hold(message: QueuedMessage) -> None:
        for one in message.recipients:
            assert one.id not in ours
            assert one.id not in finished
            ours[one.id] = one

    for number, (step, n) in enumerate(steps):
        some = list(ours.values())[: n + 1]
        if step.startswith("add"):
            hold(queued(subject.wait(subject.outbox.add(new(f"{number:016}"), lease=step == "add leased"))))
            accepted += 2
        elif step == "take":
            for message in take(subject, n):
                hold(message)
        elif step == "release":
            subject.wait(subject.outbox.release(some))
        elif step in ("deliver", "fail"):
            record(subject, *map(delivered if step == "deliver" else failed, some))
            finished += [one.id for one in some]
        elif step == "retry":
            record(subject, *(again(one, 0.0) for one in some))
        if not step.startswith(("add", "take")):
            for one in some:
                del ours[one.id]
        waiting_, deferred, active, held = counts(subject)
        assert active == len(ours)
        assert waiting_ + deferred + active + held + len(finished) == accepted
    waiting |= {one.id for message in take(subject, 1000) for one in message.recipients}
    assert len(waiting | ours.keys() | set(finished)) == accepted
    assert len(waiting) + len(ours) + len(finished) == accepted


@given(STEPS)
@settings(max_examples=100)
def test_nobody_is_lost_by_the_fake(steps: list[Step]) -> None:
    lose_nobody(FakeSubject(), steps)


@given(STEPS)
@settings(max_examples=25)
def test_nobody_is_lost_by_sqlite(steps: list[Step]) -> None:
    with TemporaryDirectory() as folder, sql_subject(store_url(Path(folder))) as subject:
        lose_nobody(subject, steps)


@given(STEPS)
@settings(max_examples=15)
def test_nobody_is_lost_by_postgresql(postgresql: Postgresql, steps: list[Step]) -> None:
    with sql_subject(postgresql_url(postgresql)) as subject:
        lose_nobody(subject, steps)
