"""Who hears what: NOTIFY, the null sender, what is returned, and where a large report is kept."""

import pytest
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway.errors import StorageFull, Unavailable
from gateway.message.report import Action
from gateway.queue.body import INLINE
from gateway.queue.model import (
    BodyRef,
    Envelope,
    Field,
    Inline,
    NewMessage,
    Outcome,
    QueuedMessage,
    Recipient,
    Result,
    Spooled,
)
from gateway.queue.reports import MAX_RETURNED, PATIENCE, OwnersOnly, Reporter, wants
from tests.fakes import FakeBodies
from tests.unit.awaiting import failure_of, value_of

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 +0000
LINE = b"x" * 76 + b"\r\n"


def recipient(notify: str = "", address: str = "a@x.example") -> Recipient:
    return Recipient(1, address, Field.TO, notify, "rfc822;a+2Bb@x.example", 0, False)


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ("", {Action.FAILED, Action.DELAYED}),
        ("NEVER", set()),
        ("FAILURE", {Action.FAILED}),
        ("DELAY", {Action.DELAYED}),
        ("SUCCESS", {Action.DELIVERED, Action.RELAYED}),
        ("SUCCESS,FAILURE", {Action.DELIVERED, Action.RELAYED, Action.FAILED}),
        ("SUCCESS,FAILURE,DELAY", set(Action)),
    ],
)
def test_notify(notify: str, told: set[Action]) -> None:
    assert {action for action in Action if wants(action, recipient(notify))} == told


class Writing:
    def __init__(self) -> None:
        self.bodies = FakeBodies()
        self.reporter = Reporter("gw.example", self.bodies, lambda: "R000000000000001", lambda: NOW)

    def begin(
        self,
        action: Action = Action.FAILED,
        *recipients: Recipient,
        envelope: Envelope | None = None,
        body: BodyRef | None = None,
        age: float = 60.0,
    ) -> Deferred[NewMessage | None]:
        message = QueuedMessage(
            "M", "1", envelope or Envelope("me@x.example"), b"Subject: s\r\n\r\n", body or Inline(LINE), 0.0, ()
        )
        outcomes = [
            Outcome(to, Result.FAILED, 550, "5.1.1", "no such user", "hop", "mx.example.net")
            for to in recipients or (recipient(),)
        ]
        return Deferred.fromCoroutine(self.reporter.write(action, message, age, outcomes, retry_for=3600.0))

    def text(self, report: NewMessage | None) -> bytes:
        assert report is not None
        body = report.body
        return report.header + (body.data if isinstance(body, Inline) else self.bodies.files[body.name])


def test_a_report() -> None:
    it = Writing()
    report = value_of(it.begin())
    text = it.text(report).decode()
    assert report is not None
    assert (report.id, report.account_id, report.envelope) == ("R000000000000001", "", Envelope(""))
    assert [(to.address, to.notify) for to in report.recipients] == [("me@x.example", "NEVER")]
    assert "Original-Recipient: rfc822; a+b@x.example" in text
    assert "Arrival-Date: Tue, 14 Nov 2023 22:12:20 +0000" in text
    assert "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:20 +0000" in text
    assert "Will-Retry-Until" not in text
    assert "Subject: s" in text
    assert LINE.decode() not in text


def test_a_warning_says_until_when() -> None:
    it = Writing()
    assert "Will-Retry-Until: Tue, 14 Nov 2023 23:13:20 +0000" in it.text(value_of(it.begin(Action.DELAYED))).decode()


def test_none_for_the_null_sender() -> None:
    assert value_of(Writing().begin(envelope=Envelope(""))) is None


def test_none_when_nobody_asked() -> None:
    assert value_of(Writing().begin(Action.FAILED, recipient("NEVER"), recipient("SUCCESS"))) is None


def test_only_those_who_asked_are_named() -> None:
    it = Writing()
    text = it.text(
        value_of(it.begin(Action.FAILED, recipient("NEVER", "bob@y.example"), recipient("FAILURE", "cleo@y.example")))
    )
    assert b"cleo@y.example" in text
    assert b"bob@y.example" not in text


@pytest.mark.parametrize("action", [Action.DELAYED, Action.RELAYED, Action.DELIVERED])
def test_the_message_comes_back_only_when_it_failed(action: Action) -> None:
    it = Writing()
    report = value_of(it.begin(action, recipient("SUCCESS,DELAY"), envelope=Envelope("me@x.example", ret="FULL")))
    assert LINE not in it.text(report)


@pytest.mark.parametrize(
    ("lines", "returned"), [(1, True), (MAX_RETURNED // len(LINE), True), (MAX_RETURNED // len(LINE) + 1, False)]
)
def test_the_whole_message_comes_back_up_to_a_size(lines: int, returned: bool) -> None:
    it = Writing()
    it.bodies.files["M"] = LINE * lines
    report = value_of(it.begin(envelope=Envelope("me@x.example", ret="FULL"), body=Spooled("M", len(LINE) * lines)))
    assert (LINE * lines in it.text(report)) is returned
    assert report is not None
    assert isinstance(report.body, Spooled) is (returned and lines * len(LINE) > INLINE)


@pytest.mark.parametrize("ret", ["", "HDRS"])
def test_without_ret_full_the_header_alone_comes_back(ret: str) -> None:
    it = Writing()
    text = it.text(value_of(it.begin(envelope=Envelope("me@x.example", ret=ret))))
    assert b"Subject: s" in text
    assert LINE not in text


def test_a_body_that_cannot_be_read_is_left_out() -> None:
    it = Writing()
    with capture_logs() as logs:
        report = value_of(it.begin(envelope=Envelope("me@x.example", ret="FULL"), body=Spooled("gone", 100)))
    assert b"Subject: s" in it.text(report)
    assert [entry["event"] for entry in logs] == ["a body cannot be read"]


def test_a_report_that_cannot_be_kept_leaves_nothing() -> None:
    class FullBodies(FakeBodies):
        def check(self) -> None:
            if self.growing:
                raise StorageFull("full")

    it = Writing()
    it.bodies = FullBodies()
    it.reporter = Reporter("gw.example", it.bodies, lambda: "R000000000000001", lambda: NOW)
    it.bodies.files["M"] = LINE * 2000
    waiting = it.begin(envelope=Envelope("me@x.example", ret="FULL"), body=Spooled("M", len(LINE) * 2000))
    assert isinstance(failure_of(waiting, Unavailable), StorageFull)
    assert it.bodies.growing == {}


def test_a_sender_with_other_letters_than_ascii() -> None:
    report = value_of(Writing().begin(envelope=Envelope("jürgen@x.example", smtputf8=True)))
    assert report is not None
    assert report.envelope.smtputf8
    assert report.envelope.eight_bit


class FakeOwners:
    """Owners: account "1" owns me@x.example. `error` is raised instead; `gate` is waited for."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate: Deferred[None] | None = None

    async def owns(self, account_id: str, sender: str) -> bool:
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        return (account_id, sender) == ("1", "me@x.example")


class Guarded(Writing):
    """Where accounts may use any sender address."""

    def __init__(self) -> None:
        super().__init__()
        self.owners, self.clock = FakeOwners(), Clock()
        self.only = OwnersOnly(self.owners, self.clock, active=True)
        self.reporter = Reporter("gw.example", self.bodies, lambda: "R000000000000001", lambda: NOW, self.only)


FULL = Envelope("me@x.example", ret="FULL")
STRANGER = Envelope("stranger@y.example", ret="FULL")


@pytest.mark.parametrize("action", list(Action))
def test_with_any_sender_an_owner_gets_reports_without_the_body(action: Action) -> None:
    it = Guarded()
    text = it.text(value_of(it.begin(action, recipient("SUCCESS,FAILURE,DELAY"), envelope=FULL)))
    assert b"Subject: s" in text
    assert LINE not in text


@pytest.mark.parametrize("action", list(Action))
def test_with_any_sender_a_stranger_gets_no_report(action: Action) -> None:
    it = Guarded()
    with capture_logs() as logs:
        assert value_of(it.begin(action, recipient("SUCCESS,FAILURE,DELAY"), envelope=STRANGER)) is None
    reason = "the account does not own the sender address"
    assert logs == [{"event": "report not sent", "log_level": "warning", "queue_id": "M", "account": "1", "reason": reason}]


@pytest.mark.parametrize("error", [Unavailable("connection refused"), RuntimeError("a bug")])
def test_no_report_while_the_owner_cannot_be_told(error: Exception) -> None:
    it = Guarded()
    it.owners.error = error
    with capture_logs() as logs:
        assert value_of(it.begin(envelope=FULL)) is None
    assert logs[-1]["event"] == "report not sent"


def test_a_login_table_that_hangs_is_waited_for_only_so_long() -> None:
    it = Guarded()
    it.owners.gate = Deferred()
    waiting = it.begin(envelope=FULL)
    with capture_logs() as logs:
        it.clock.advance(PATIENCE)
        assert value_of(waiting) is None
    assert "no answer" in logs[-1]["reason"]


def test_with_own_senders_nobody_is_asked_and_the_body_comes_back() -> None:
    it = Guarded()
    it.only.active = False
    assert LINE in it.text(value_of(it.begin(envelope=STRANGER)))


def more_of(it: Writing, envelope: Envelope, count: int) -> NewMessage | None:
    message = QueuedMessage("M", "1", envelope, b"Subject: s\r\n\r\n", Inline(LINE), 0.0, ())
    make = value_of(Deferred.fromCoroutine(it.reporter.more(message, 60.0)))
    return None if make is None else make(count)


def test_the_report_on_further_blind_recipients_tells_their_number() -> None:
    it = Writing()
    report = more_of(it, FULL, 7)
    text = it.text(report).decode()
    assert report is not None
    assert (report.account_id, report.envelope, report.recipients[0].address) == ("", Envelope(""), "me@x.example")
    assert "could not be delivered to 7\r\nmore blind recipients (Bcc)" in text
    assert "Auto-Submitted: auto-replied" in text
    assert "Subject: s" in text
    assert LINE.decode() not in text
    assert "1 more blind recipient " in " ".join(it.text(more_of(it, FULL, 1)).decode().split())


def test_nobody_is_told_of_further_blind_recipients_who_may_not_have_reports() -> None:
    assert more_of(Writing(), Envelope(""), 7) is None
    assert more_of(Guarded(), STRANGER, 7) is None
    assert more_of(Guarded(), FULL, 7) is not None
