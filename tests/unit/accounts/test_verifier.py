"""The queue of slow hashes, on a clock and on threads that the test turns by hand."""

import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import bcrypt
import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from gateway.accounts import schemes
from gateway.accounts.ports import Busy
from gateway.accounts.verifier import DEFAULT_DECOY, Verifier, lowest_priority
from gateway.metrics import Metrics
from tests.unit.awaiting import assert_pending, failure_of, value_of

T = TypeVar("T")
STORED = bcrypt.hashpw(b"secret", b"$2b$04$" + b"a" * 21 + b".").decode()
OTHER = bcrypt.hashpw(b"secret", b"$2b$05$" + b"a" * 21 + b".").decode()


class Threads:
    """Hash threads that do one job when told to, taking `seconds` for it by the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.1
        self.jobs: deque[Callable[[], None]] = deque()
        self.stored: list[str] = []

    def run(self, function: Callable[[], T], /) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.stored.append(function.args[1])  # type: ignore[attr-defined]

        def job() -> None:
            self.clock.advance(self.seconds)
            try:
                result = function()
            except Exception:
                done.errback()
            else:
                done.callback(result)

        self.jobs.append(job)
        return done

    def step(self) -> None:
        self.jobs.popleft()()


class TestVerifier:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.threads = Threads(self.clock)
        self.registry = CollectorRegistry()
        self.verifier = Verifier(self.threads.run, Metrics(self.registry), self.clock, threads=2, hash_wait=1.0)

    def begin(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(coroutine)

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"smtp_gateway_{name}", labels) or 0.0

    def test_right_and_wrong(self) -> None:
        right = self.begin(self.verifier.verify(b"secret", STORED))
        wrong = self.begin(self.verifier.verify(b"Secret", STORED))
        assert_pending(right)
        self.threads.step()
        self.threads.step()
        assert value_of(right) is True
        assert value_of(wrong) is False
        assert self.sample("password_hash_seconds_count", scheme="bcrypt") == 2
        assert self.sample("password_hash_seconds_sum", scheme="bcrypt") == pytest.approx(0.3)  # the second saw both

    def test_no_more_at_once_than_threads_and_in_turn(self) -> None:
        answers = [self.begin(self.verifier.verify(b"secret", STORED)) for _ in range(4)]
        assert len(self.threads.jobs) == 2
        assert self.sample("password_hashes_waiting") == 2
        self.threads.step()
        assert len(self.threads.jobs) == 2
        assert self.sample("password_hashes_waiting") == 1
        self.threads.step()
        assert [a.called for a in answers] == [True, True, False, False]

    def test_pepper_reaches_the_scheme(self) -> None:
        stored = bcrypt.hashpw(b"secretpepper", bcrypt.gensalt(4)).decode()
        verifier = Verifier(
            self.threads.run, Metrics(CollectorRegistry()), self.clock, threads=1, hash_wait=1.0, pepper=b"pepper"
        )
        answer = self.begin(verifier.verify(b"secret", stored))
        self.threads.step()
        assert value_of(answer) is True

    def test_turned_away_when_it_would_wait_too_long_and_told_so_late(self) -> None:
        for _ in range(2 + 8):  # two run; eight wait for 0.25 s each in two threads: 1 s
            self.begin(self.verifier.verify(b"secret", STORED))
        late = self.begin(self.verifier.burn(b"secret"))
        self.clock.advance(0.99)
        assert_pending(late)
        self.clock.advance(0.01)
        failure_of(late, Busy)
        assert self.sample("password_hashes_waiting") == 8

    def test_the_estimate_follows_what_hashes_take(self) -> None:
        self.threads.seconds = 10.0
        first = self.begin(self.verifier.verify(b"secret", STORED))
        self.threads.step()
        assert value_of(first) is True
        for _ in range(3):
            self.begin(self.verifier.verify(b"secret", STORED))
        assert self.verifier.estimated_wait > 1.0
        failure_of(self._advanced(self.begin(self.verifier.verify(b"secret", STORED))), Busy)

    def _advanced(self, waiting: Deferred[T]) -> Deferred[T]:
        self.clock.advance(1.0)
        return waiting

    def test_one_who_leaves_while_waiting_gives_the_turn_back(self) -> None:
        for _ in range(2):
            self.begin(self.verifier.verify(b"secret", STORED))
        gone = self.begin(self.verifier.verify(b"secret", STORED))
        gone.cancel()
        failure_of(gone, CancelledError)
        assert self.sample("password_hashes_waiting") == 0
        self.threads.step()
        self.threads.step()
        assert len(self.threads.jobs) == 0

    def test_one_who_leaves_while_hashing_keeps_the_thread(self) -> None:
        gone = self.begin(self.verifier.verify(b"secret", STORED))
        self.begin(self.verifier.verify(b"secret", STORED))
        waits = self.begin(self.verifier.verify(b"secret", STORED))
        gone.cancel()
        failure_of(gone, CancelledError)
        assert len(self.threads.jobs) == 2
        self.threads.step()
        assert len(self.threads.jobs) == 2
        self.threads.step()
        self.threads.step()
        assert value_of(waits) is True

    def test_unknown_scheme_costs_no_thread(self) -> None:
        failure_of(self.begin(self.verifier.verify(b"secret", "md5:x")), schemes.UnknownScheme)
        assert len(self.threads.jobs) == 0

    def test_a_hash_that_fails_gives_its_place_back(self) -> None:
        junk = "$2b$04$" + "z" * 53
        for _ in range(3):
            answer = self.begin(self.verifier.verify(b"secret", junk))
            self.threads.step()
            failure_of(answer, schemes.UnknownScheme)

    def test_nobody_fits_an_unusable_hash_and_it_costs_one(self) -> None:
        for stored in ("", "!", "*"):
            answer = self.begin(self.verifier.verify(b"", stored))
            assert_pending(answer)
            self.threads.step()
            assert value_of(answer) is False

    def burnt(self) -> str:
        self.begin(self.verifier.burn(b"secret"))
        self.threads.seconds = 0.0
        self.threads.jobs.clear()  # never run: the default decoy would take its time
        self.verifier._places.release()
        return self.threads.stored[-1]

    def test_decoy_is_of_the_usual_scheme_and_cost(self) -> None:
        assert self.burnt() == DEFAULT_DECOY
        self.verifier.learn([STORED, "junk", ""])
        assert self.burnt() == schemes.decoy(STORED)
        self.verifier.learn([OTHER, OTHER.replace("$2b$", "$2a$"), OTHER[:-1] + ".", OTHER[:-1] + "/"])
        assert self.burnt() == schemes.decoy(OTHER)

    def test_one_odd_account_cannot_move_the_decoy(self) -> None:
        self.verifier.learn([STORED, STORED[:-1] + "."])
        self.verifier.learn([OTHER] * 1000)
        assert self.burnt() == schemes.decoy(STORED)

    def test_rows_remembered_are_bounded(self) -> None:
        self.verifier.learn(f"$2b$04${n:022d}{'a' * 31}" for n in range(2000))
        assert len(self.verifier._decoys) <= 256


def test_lowest_priority_is_of_the_thread_alone() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: list[int] = []

    def body() -> None:
        lowest_priority()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
