"""Credentials to an account, over a login table in memory, real hashes and a clock turned by hand."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import bcrypt
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from gateway import reply
from gateway.accounts.decision import Place, Result
from gateway.accounts.hash_threads import HashThreads
from gateway.accounts.model import Account, Credentials, LoginRow
from gateway.accounts.verifier import Verifier
from gateway.config import Lockout
from gateway.errors import Refused, Unavailable
from gateway.metrics import Metrics
from tests.sign_in import SignIn
from tests.unit.awaiting import assert_pending, failure_of, value_of

T = TypeVar("T")


def stored(password: bytes, cost: int = 4) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()


ANN = LoginRow("7", "Ann@Example.com", stored(b"secret"), max_message_size=5000)
RESULTS = tuple(Result)


class Table:
    """A login table: rows by lower-case login. `away` makes every query fail."""

    def __init__(self, *rows: LoginRow) -> None:
        self.rows = {row.login.lower(): row for row in rows}
        self.asked: list[str] = []
        self.away = False

    def put(self, row: LoginRow) -> None:
        self.rows[row.login.lower()] = row

    async def find(self, login: str) -> LoginRow | None:
        self.asked.append(login)
        if self.away:
            raise Unavailable("connection refused")
        return self.rows.get(login.lower())

    async def by_id(self, account_id: str) -> LoginRow | None:
        if self.away:
            raise Unavailable("connection refused")
        return next((row for row in self.rows.values() if row.id == account_id), None)

    case_sensitive = False

    def key(self, login: str) -> str:
        return login.lower()

    async def aliases(self, account_id: str) -> frozenset[str]:
        return frozenset({"sales@example.com"}) if account_id == "7" else frozenset()


class Harness:
    rules: Lockout | None = None
    place = Place("192.0.2.0/24", "192.0.2.0/23")

    def setup_method(self) -> None:
        self.clock = Clock()
        self.table = Table(ANN)
        self.registry = CollectorRegistry()
        self.hashes = 0
        self.while_hashing: Callable[[], object] = lambda: None
        metrics = Metrics(self.registry)
        threads = HashThreads(self.run_hash, places=1)
        verifier = Verifier(threads, threads, metrics, self.clock, hash_wait=1.0)
        verifier.learn([ANN.stored])
        self.verifier = verifier
        self.sign_in = SignIn(self.table, verifier, metrics, self.clock, delay=0.3, ceiling=10_000, rules=self.rules)
        self.authenticator = self.sign_in.authenticator

    def run_hash(self, function: Callable[[], T], places: int, /) -> Deferred[T]:
        self.hashes += 1
        result = function()
        self.while_hashing()
        return succeed(result)

    def begin(self, login: str, password: bytes, mechanism: str = "PLAIN") -> Deferred[Account]:
        credentials = Credentials(login, password, mechanism)
        return Deferred.fromCoroutine(self.authenticator.sign_in(credentials, self.place))

    def later(self, login: str, password: bytes) -> Deferred[Account]:
        """As `begin`, and the delay passes."""
        waiting = self.begin(login, password)
        self.clock.advance(0.3)
        return waiting

    def refused(self, waiting: Deferred[Any]) -> reply.Reply:
        return failure_of(waiting, Refused).reply

    def counted(self) -> dict[str, float]:
        """Attempts by result, without the zeros."""
        values = {r: self._attempts("PLAIN", r) + self._attempts("LOGIN", r) for r in RESULTS}
        return {r: n for r, n in values.items() if n}

    def _attempts(self, mechanism: str, result: str) -> float:
        name = "smtp_gateway_auth_attempts_total"
        return self.registry.get_sample_value(name, {"mechanism": mechanism, "result": result}) or 0.0

    def denied(self, login: str, password: bytes, result: str, *, hashes: int = 1) -> None:
        """535, no sooner than the delay, for `hashes` hashes."""
        waiting = self.begin(login, password)
        assert self.hashes == hashes
        self.clock.advance(0.29)
        assert_pending(waiting)
        self.clock.advance(0.01)
        assert self.refused(waiting) == reply.WRONG_LOGIN
        assert self.counted() == {result: 1}


class TestSignIn(Harness):
    def test_right(self) -> None:
        account = value_of(self.begin("ann@example.com", b"secret"))
        assert account == Account("7", "Ann@Example.com", 5000, ANN.stored, frozenset({"ann@example.com", "sales@example.com"}))
        assert self.hashes == 1
        assert self.table.asked == ["ann@example.com"] * 2
        assert self.counted() == {"ok": 1}
        assert self.registry.get_sample_value("smtp_gateway_auth_seconds_count", {"path": "hash"}) == 1

    def test_an_account_cannot_raise_the_ceiling(self) -> None:
        self.table.put(replace(ANN, max_message_size=1_000_000))
        assert value_of(self.begin("ann@example.com", b"secret")).message_size == 10000

    def test_wrong(self) -> None:
        self.denied("ann@example.com", b"Secret", "wrong")

    def test_unknown(self) -> None:
        self.denied("bob@example.com", b"secret", "unknown")

    def test_disabled(self) -> None:
        self.table.put(replace(ANN, active=False))
        self.denied("ann@example.com", b"secret", "disabled")

    def test_not_enabled_for_smtp(self) -> None:
        self.table.put(replace(ANN, smtp_enabled=False))
        self.denied("ann@example.com", b"secret", "disabled")

    def test_disabled_and_wrong(self) -> None:
        self.table.put(replace(ANN, active=False))
        self.denied("ann@example.com", b"Secret", "wrong")

    def test_nobody_signs_in_without_a_hash(self) -> None:
        self.table.put(replace(ANN, stored=""))
        self.denied("ann@example.com", b"", "wrong")

    def test_wrong_unknown_and_disabled_read_the_table_as_often(self) -> None:
        self.table.put(replace(ANN, id="8", login="off@example.com", active=False))
        for login, password in (("ann@example.com", b"x"), ("bob@example.com", b"x"), ("off@example.com", b"secret")):
            self.begin(login, password)
        assert self.table.asked == ["ann@example.com", "bob@example.com", "off@example.com"]
        assert self.hashes == 3

    def test_impossible_logins_are_unknown_without_a_query(self) -> None:
        for n, login in enumerate(["", "a\x00b", "a\nb", "é" * 128, "\udc80"], 1):
            waiting = self.begin(login, b"secret")
            self.clock.advance(0.3)
            assert self.refused(waiting) == reply.WRONG_LOGIN
            assert self.hashes == n
        assert self.table.asked == []
        assert self.counted() == {"unknown": 5}

    def test_a_login_of_254_octets_is_asked_for(self) -> None:
        self.begin("é" * 127, b"secret")
        assert self.table.asked == ["é" * 127]

    def test_an_overlong_password_is_not_tried(self) -> None:
        self.denied("ann@example.com", b"x" * 1025, "unknown")
        assert self.table.asked == []

    def test_no_wait_when_the_hash_took_longer_than_the_delay(self) -> None:
        self.while_hashing = lambda: self.clock.advance(0.4)
        waiting = self.begin("ann@example.com", b"wrong")
        self.clock.advance(0)
        assert self.refused(waiting) == reply.WRONG_LOGIN

    def test_table_away(self) -> None:
        self.table.away = True
        waiting = self.begin("ann@example.com", b"secret")
        assert not waiting.called  # a question that cannot be answered is no cheaper than a wrong password
        self.clock.advance(0.3)
        assert self.refused(waiting) == reply.AUTH_UNAVAILABLE
        assert self.counted() == {"unavailable": 1}
        assert self.registry.get_sample_value("smtp_gateway_auth_seconds_count", {"path": "refused"}) == 1

    def test_table_away_after_the_hash(self) -> None:
        self.while_hashing = lambda: setattr(self.table, "away", True)
        assert self.refused(self.later("ann@example.com", b"secret")) == reply.AUTH_UNAVAILABLE

    def test_unknown_scheme(self) -> None:
        self.table.put(replace(ANN, stored="md5:5ebe2294ecd0e0f08eab7690d2a6ee69"))
        with capture_logs() as lines:
            assert self.refused(self.later("ann@example.com", b"secret")) == reply.AUTH_UNAVAILABLE
        assert self.counted() == {"unavailable": 1}
        assert [(line["account"], line["log_level"]) for line in lines] == [("7", "warning")]
        assert "5ebe" not in repr(lines)

    def test_busy(self) -> None:
        self.verifier.hash_wait = -1.0
        waiting = self.begin("ann@example.com", b"secret")
        self.clock.advance(0)
        assert self.refused(waiting) == reply.AUTH_BUSY
        assert self.counted() == {"busy": 1}

    def test_our_own_bugs_come_out(self) -> None:
        self.while_hashing = lambda: 1 / 0
        failure_of(self.begin("ann@example.com", b"secret"), ZeroDivisionError)

    def test_a_client_that_leaves_leaves_nothing_behind(self) -> None:
        waiting = self.begin("ann@example.com", b"wrong")
        waiting.cancel()
        failure_of(waiting, CancelledError)
        assert self.clock.getDelayedCalls() == []

    def test_the_log_has_the_account_and_the_network_but_nothing_the_client_typed(self) -> None:
        with capture_logs() as lines:
            self.begin("ann@example.com", b"secret", "LOGIN")
            self.begin("stranger@example.net", b"hunter2")
            self.clock.advance(0.3)
        assert [(line["result"], line["account"]) for line in lines] == [("ok", "7"), ("unknown", "")]
        assert {line["network"] for line in lines} == {"192.0.2.0/24"}
        assert lines[0]["mechanism"] == "LOGIN"
        for secret in ("ann@", "secret", "stranger", "hunter2", "$2b$"):
            assert secret not in repr(lines)


class TestRowMovesWhileHashing(Harness):
    def moves(self, *rows: LoginRow | None) -> None:
        """At the end of each hash the row becomes the next of `rows` (None: it is gone)."""
        queue = list(rows)

        def move() -> None:
            if queue:
                row = queue.pop(0)
                self.table.rows = {ANN.login.lower(): row} if row else {}

        self.while_hashing = move

    def test_disabled(self) -> None:
        self.moves(replace(ANN, active=False))
        self.denied("ann@example.com", b"secret", "disabled")

    def test_deleted(self) -> None:
        self.moves(None)
        self.denied("ann@example.com", b"secret", "unknown")

    def test_new_password(self) -> None:
        self.moves(replace(ANN, stored=stored(b"changed")))
        self.denied("ann@example.com", b"secret", "wrong", hashes=2)

    def test_rehashed_with_the_same_password(self) -> None:
        moved = replace(ANN, stored=stored(b"secret", 5))
        self.moves(moved)
        assert value_of(self.begin("ann@example.com", b"secret")).stored == moved.stored
        assert self.hashes == 2

    def test_another_account_took_the_login(self) -> None:
        self.moves(replace(ANN, id="8"))
        assert value_of(self.begin("ann@example.com", b"secret")).id == "8"
        assert self.hashes == 2

    def test_it_never_settles(self) -> None:
        self.moves(*(replace(ANN, stored=stored(b"secret")) for _ in range(5)))
        assert self.refused(self.later("ann@example.com", b"secret")) == reply.AUTH_UNAVAILABLE
        assert self.hashes == 2


class TestOpenSession(Harness):
    def setup_method(self) -> None:
        super().setup_method()
        self.account = value_of(self.begin("ann@example.com", b"secret"))

    def check(self) -> Deferred[Account]:
        check: Coroutine[Deferred[Any], Any, Account] = self.authenticator.check_open(self.account)
        return Deferred.fromCoroutine(check)

    def test_nothing_changed(self) -> None:
        assert value_of(self.check()) == self.account
        assert self.hashes == 1

    def test_new_limits_count_at_once(self) -> None:
        self.table.put(replace(ANN, max_message_size=100))
        assert value_of(self.check()).message_size == 100

    def test_ended(self) -> None:
        for row in (
            replace(ANN, stored=stored(b"changed")),
            replace(ANN, active=False),
            replace(ANN, smtp_enabled=False),
            None,
        ):
            self.table.rows = {ANN.login.lower(): row} if row else {}
            assert self.refused(self.check()) == reply.NO_LONGER_VALID, row

    def test_another_account_took_the_login(self) -> None:
        self.table.put(replace(ANN, id="8"))
        assert self.refused(self.check()) == reply.NO_LONGER_VALID

    def test_table_away(self) -> None:
        self.table.away = True
        assert self.refused(self.check()) == reply.SERVICE_ERROR


class TestLockedOut(Harness):
    rules = Lockout(failures=1)

    def test_who_is_locked_out_is_not_told_so_before_the_delay(self) -> None:
        self.denied("ann@example.com", b"wrong", "wrong")
        waiting = self.begin("ann@example.com", b"secret")
        self.clock.advance(0.29)
        assert_pending(waiting)
        self.clock.advance(0.01)
        assert self.refused(waiting).code == 454
        assert self.hashes == 1
        assert self.counted() == {"wrong": 1, "locked": 1}
