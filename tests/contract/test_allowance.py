"""Charges, the daily limit and suspensions: what every Outbox and Ledger do, those of our store and the fakes."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unavailable
from gateway.queue.allowance import DAY, Denied, OnLimit, Standing, Terms
from gateway.queue.model import Added, Duplicate, Field, NewMessage, NewRecipient, Queued
from tests.contract.outboxes import SUBJECTS, FakeSubject, Subject, add, counts, new, sql_subject, subject_of
from tests.pump import deferred
from tests.servers.databases import Postgresql
from tests.stores import postgresql_url, store_url

DEFER, REJECT, SUSPEND = OnLimit.DEFER, OnLimit.REJECT, OnLimit.SUSPEND
UNLIMITED = Terms(0, DEFER)


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with subject_of(request, tmp_path) as subject:
        yield subject


def message(id_: int, recipients: int, terms: Terms | None, account: str = "7") -> NewMessage:
    to = [NewRecipient(f"r{n}@example.net", Field.TO) for n in range(recipients)]
    return new(f"{id_:016}", *to, account=account, terms=terms)


class Sender:
    """Sends one message after the other from an account."""

    def __init__(self, subject: Subject, account: str = "7") -> None:
        self._subject, self._account, self._sent = subject, account, 0

    def send(self, recipients: int, terms: Terms | None) -> Added:
        self._sent += 1
        return add(self._subject, message(int(self._account, 16) * 1000 + self._sent, recipients, terms, self._account))

    def used(self, recipients: int, terms: Terms) -> int:
        """Send; what is used when it has been queued."""
        answer = self.send(recipients, terms)
        assert isinstance(answer, Queued)
        assert answer.standing is not None
        return answer.standing.used

    def denied(self, recipients: int, terms: Terms) -> Denied:
        answer = self.send(recipients, terms)
        assert isinstance(answer, Denied)
        return answer

    def standing(self) -> Standing:
        return self._subject.wait(self._subject.ledger.standing(self._account))

    def overstep(self, recipients: int, terms: Terms) -> Denied | Standing:
        return self._subject.wait(self._subject.ledger.overstep(self._account, terms, recipients))


@pytest.fixture
def ann(subject: Subject) -> Sender:
    return Sender(subject)


def test_recipients_are_charged_by_class_with_messages_and_octets(subject: Subject, ann: Sender) -> None:
    fields = (Field.TO, Field.BCC, Field.CC, Field.TO, Field.BCC, Field.BCC)
    mixed = new("0000000000000001", *(NewRecipient(f"r{n}@x.example", f) for n, f in enumerate(fields)), terms=UNLIMITED)
    answer = add(subject, mixed)
    assert isinstance(answer, Queued)
    assert answer.standing is not None
    assert answer.standing.used == 6
    assert subject.used("7") == [(1, 2, 1, 3, mixed.size)]
    ann.send(2, UNLIMITED)
    assert subject.used("7") == [(2, 4, 1, 3, 2 * mixed.size)]


def test_without_terms_nobody_is_charged(subject: Subject, ann: Sender) -> None:
    answer = ann.send(3, None)
    assert isinstance(answer, Queued)
    assert answer.standing is None
    assert subject.used("7") == []


def test_the_limit_is_reached_exactly_and_never_passed(subject: Subject, ann: Sender) -> None:
    ten = Terms(10, DEFER)
    assert ann.used(4, ten) == 4
    assert ann.used(4, ten) == 8
    denied = ann.denied(3, ten)
    assert (denied.action, denied.limit, denied.standing.used, denied.standing.suspended) == (DEFER, 10, 8, False)
    assert 0 < denied.standing.resets_in <= DAY
    assert ann.used(2, ten) == 10  # a smaller one still fits
    assert ann.denied(1, ten).standing.used == 10
    assert subject.used("7")[0][:2] == (3, 10)
    assert counts(subject) == (10, 0, 0, 0)


def test_the_first_message_of_a_day_can_be_too_much(subject: Subject, ann: Sender) -> None:
    assert ann.denied(11, Terms(10, REJECT)).action is REJECT
    assert subject.used("7") == []
    assert ann.used(10, Terms(10, REJECT)) == 10


def test_no_limit_is_no_limit_but_counted(ann: Sender) -> None:
    assert ann.used(100, UNLIMITED) == 100
    assert ann.used(100, UNLIMITED) == 200
    assert ann.denied(1, Terms(150, DEFER)).standing.used == 200


def test_a_changed_limit_counts_at_once(ann: Sender) -> None:
    ann.used(5, Terms(5, DEFER))
    ann.denied(1, Terms(5, DEFER))
    assert ann.used(1, Terms(6, DEFER)) == 6
    ann.denied(1, Terms(1, DEFER))


def test_each_account_has_its_own(subject: Subject, ann: Sender) -> None:
    bob = Sender(subject, "8")
    two = Terms(2, SUSPEND)
    ann.used(2, two)
    ann.denied(1, two)
    assert bob.used(2, two) == 2
    assert (ann.standing().suspended, bob.standing().suspended) == (True, False)


def test_the_next_day_starts_from_nothing(subject: Subject, ann: Sender) -> None:
    ann.used(2, Terms(2, DEFER))
    subject.pass_time(DAY)
    assert ann.standing().used == 0
    assert ann.used(1, Terms(2, DEFER)) == 1
    assert [day[1] for day in subject.used("7")] == [1, 2]


def test_a_denied_one_and_a_broken_one_do_their_neighbours_no_harm(subject: Subject, ann: Sender) -> None:
    two = Terms(2, SUSPEND)
    ann.used(1, UNLIMITED)
    group = [
        message(1, 2, two, "a"),
        message(2, 3, two, "b"),  # too much
        message(1, 1, two, "c"),  # an id that is there
        message(3, 1, two, "d"),
        message(4, 1, two, "a"),  # too much after the first
    ]
    waiting = [deferred(subject.outbox.add(each, lease=False)) for each in group]
    answers = [subject.wait(each.addErrback(lambda failure: failure.type)) for each in waiting]
    assert [each if each is Unavailable else type(each) for each in answers] == [Queued, Denied, Unavailable, Queued, Denied]
    assert {account: [day[:2] for day in subject.used(account)] for account in "abcd"} == {
        "a": [(1, 2)],
        "b": [],
        "c": [],
        "d": [(1, 1)],
    }
    suspended = {account for account in "abcd" if Sender(subject, account).standing().suspended}
    assert suspended == {"a", "b"}
    assert counts(subject) == (4, 0, 0, 0)


def test_a_suspended_account_sends_nothing_whatever_its_terms_until_it_is_let(subject: Subject, ann: Sender) -> None:
    ann.used(2, Terms(2, SUSPEND))
    denied = ann.denied(1, Terms(2, SUSPEND))
    assert (denied.action, denied.limit, denied.standing.used, denied.standing.suspended) == (SUSPEND, 2, 2, True)
    for terms in (Terms(100, DEFER), Terms(100, REJECT), Terms(100, SUSPEND), UNLIMITED):
        assert ann.denied(1, terms).action is SUSPEND
    subject.pass_time(DAY)
    assert ann.standing().suspended
    assert ann.denied(1, Terms(2, SUSPEND)).action is SUSPEND
    subject.lift("7")
    assert not ann.standing().suspended
    assert ann.used(1, Terms(2, SUSPEND)) == 1


def test_one_that_was_lifted_is_only_deferred_on_the_same_day(subject: Subject, ann: Sender) -> None:
    two = Terms(2, SUSPEND)
    ann.used(2, two)
    ann.denied(1, two)
    subject.lift("7")
    again = ann.denied(1, two)
    assert (again.action, again.standing.suspended) == (DEFER, False)
    assert not ann.standing().suspended
    assert ann.denied(1, Terms(2, REJECT)).action is REJECT
    assert ann.used(1, Terms(3, SUSPEND)) == 3
    subject.pass_time(DAY)
    ann.used(2, two)
    assert ann.denied(1, two).action is SUSPEND


def test_standing_before_anything_was_sent(ann: Sender) -> None:
    standing = ann.standing()
    assert (standing.used, standing.suspended) == (0, False)
    assert 0 < standing.resets_in <= DAY


def test_standing_and_charge_agree(ann: Sender) -> None:
    answer = ann.send(3, UNLIMITED)
    assert isinstance(answer, Queued)
    assert answer.standing is not None
    standing = ann.standing()
    assert (standing.day, standing.used, standing.suspended) == (answer.standing.day, 3, False)
    assert standing.resets_in == pytest.approx(answer.standing.resets_in, abs=30)


def test_overstepping_charges_nothing_and_suspends_where_it_is_so_ruled(subject: Subject, ann: Sender) -> None:
    ann.used(2, UNLIMITED)
    fits = ann.overstep(3, Terms(5, SUSPEND))
    assert isinstance(fits, Standing)
    assert (fits.used, fits.suspended) == (2, False)
    for action in (DEFER, REJECT, SUSPEND):
        denied = ann.overstep(4, Terms(5, action))
        assert isinstance(denied, Denied)
        assert (denied.action, denied.limit, denied.standing.used) == (action, 5, 2)
    assert ann.standing().suspended
    assert isinstance(ann.overstep(1, UNLIMITED), Denied)
    subject.lift("7")
    denied = ann.overstep(4, Terms(5, SUSPEND))
    assert isinstance(denied, Denied)
    assert denied.action is DEFER
    assert subject.used("7")[0][:2] == (1, 2)


Step = tuple[str, str, int, int, OnLimit, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "overstep", "lift", "day"]),
        st.sampled_from("ab"),
        st.integers(1, 4),  # recipients
        st.sampled_from([0, 3, 5, 8]),  # limit
        st.sampled_from(OnLimit),
        st.sampled_from(["", "", "k", "l"]),  # resend key
    ),
    max_size=20,
)


def told(subject: Subject, steps: list[Step]) -> list[object]:
    """What a subject answers to each step, without days and times."""
    answers: list[object] = []
    for number, (step, account, recipients, limit, action, key) in enumerate(steps):
        terms = Terms(limit, action)
        standing = subject.wait(subject.ledger.standing(account))
        if step == "add":
            to = [NewRecipient(f"r{n}@example.net", Field.TO) for n in range(recipients)]
            answers.append(_plain(add(subject, new(f"{number:016}", *to, account=account, terms=terms, key=key))))
        elif step == "overstep":
            answers.append(_plain(subject.wait(subject.ledger.overstep(account, terms, recipients))))
        elif step == "day":
            subject.pass_time(DAY)
        elif standing.suspended:
            subject.lift(account)
        answers.append((standing.used, standing.suspended, subject.used(account)))
    return answers


def _plain(answer: Added | Standing) -> object:
    match answer:
        case Queued(_, standing):
            return ("queued", standing and standing.used)
        case Denied(action, limit, standing):
            return ("denied", action, limit, standing.used, standing.suspended)
        case Duplicate(first):
            return ("duplicate", first)
        case Standing(_, used, _, suspended):
            return ("fits", used, suspended)


@given(STEPS)
@settings(max_examples=40)
def test_the_fake_and_sqlite_say_the_same(steps: list[Step]) -> None:
    with TemporaryDirectory() as folder, sql_subject(store_url(Path(folder))) as store:
        assert told(FakeSubject(), steps) == told(store, steps)


@given(STEPS)
@settings(max_examples=20)
def test_the_fake_and_postgresql_say_the_same(postgresql: Postgresql, steps: list[Step]) -> None:
    with sql_subject(postgresql_url(postgresql)) as store:
        assert told(FakeSubject(), steps) == told(store, steps)
