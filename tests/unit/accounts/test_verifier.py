"""The queue of slow hashes, on a clock and on threads that the test turns by hand."""

import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
        self.jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self.secrets: list[bytes] = []  # of all jobs, in the order they came
        self.stored: list[str] = []

    def run(self, function: Callable[[], T], /) -> Deferred[T]:
        secret, stored = function.args  # type: ignore[attr-defined]
        self.secrets.append(secret)
        self.stored.append(stored)
        done: Deferred[T] = Deferred()
        self.jobs.append((function, done))
        return done

    def step(self) -> None:
        """Do the oldest job."""
        function, done = self.jobs.popleft()
        self.clock.advance(self.seconds)
        try:
            result = function()
        except Exception:
            done.errback()
        else:
            done.callback(result)

    def skip(self) -> None:
        """End the oldest job as if done, for tests that want no bcrypt: b"secret" is right."""
        function, done = self.jobs.popleft()
        self.clock.advance(self.seconds)
        done.callback(function.args[0] == b"secret")  # type: ignore[attr-defined]


class Harness:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.threads = Threads(self.clock)
        self.registry = CollectorRegistry()
        self.verifier = self.make()
        self._asked = 0

    def make(self, **arguments: Any) -> Verifier:
        settings = {"threads": 2, "hash_wait": 1.0, **arguments}
        return Verifier(self.threads.run, Metrics(self.registry), self.clock, **settings)

    def begin(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(coroutine)

    def ask(self, secret: bytes = b"secret", stored: str = STORED, subject: str = "", network: str = "a") -> Deferred[bool]:
        """Verify, for an account of its own unless `subject` says whose."""
        self._asked += 1
        return self.begin(self.verifier.verify(secret, stored, subject=subject or f"a:{self._asked}", network=network))

    def burn(self, subject: str = "l:bob", network: str = "a") -> Deferred[None]:
        return self.begin(self.verifier.burn(b"secret", subject=subject, network=network))

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"smtp_gateway_{name}", labels) or 0.0


class TestVerifier(Harness):
    def test_right_and_wrong(self) -> None:
        right = self.ask(b"secret")
        wrong = self.ask(b"Secret")
        assert_pending(right)
        self.threads.step()
        self.threads.step()
        assert self.clock.getDelayedCalls() == []
        assert value_of(right) is True
        assert value_of(wrong) is False
        assert self.sample("password_hash_seconds_count", scheme="bcrypt") == 2
        assert self.sample("password_hash_seconds_sum", scheme="bcrypt") == pytest.approx(0.3)  # the second saw both

    def test_no_more_at_once_than_threads_and_in_turn(self) -> None:
        answers = [self.ask() for _ in range(4)]
        assert len(self.threads.jobs) == 2
        assert self.sample("password_hashes_waiting") == 2
        self.threads.step()
        assert len(self.threads.jobs) == 2
        assert self.sample("password_hashes_waiting") == 1
        self.threads.step()
        assert [a.called for a in answers] == [True, True, False, False]

    def test_pepper_reaches_the_scheme(self) -> None:
        self.registry = CollectorRegistry()
        self.verifier = self.make(pepper=b"pepper")
        answer = self.ask(b"secret", bcrypt.hashpw(b"secretpepper", bcrypt.gensalt(4)).decode())
        self.threads.step()
        assert value_of(answer) is True

    def test_unknown_scheme_costs_no_thread(self) -> None:
        failure_of(self.ask(stored="md5:x"), schemes.UnknownScheme)
        assert len(self.threads.jobs) == 0

    def test_a_hash_that_fails_gives_its_place_back(self) -> None:
        junk = "$2b$04$" + "z" * 53
        for _ in range(3):
            answers = [self.ask(stored=junk, subject="a:1") for _ in range(2)]
            self.threads.step()
            for answer in answers:
                failure_of(answer, schemes.UnknownScheme)

    def test_threads_that_take_no_job_give_its_place_back(self) -> None:
        def refuse(_: Callable[[], T], /) -> Deferred[T]:
            raise RuntimeError("the pool is closed")

        verifier = Verifier(refuse, Metrics(CollectorRegistry()), self.clock, threads=1, hash_wait=1.0)
        for _ in range(2):
            failure_of(self.begin(verifier.verify(b"secret", STORED, subject="a:1", network="a")), RuntimeError)

    def test_nobody_fits_an_unusable_hash_and_it_costs_one(self) -> None:
        for stored in ("", "!", "*"):
            answer = self.ask(b"", stored)
            assert_pending(answer)
            self.threads.skip()
            assert value_of(answer) is False
        assert self.threads.stored == [DEFAULT_DECOY] * 3

    def test_average_follows_what_hashes_take(self) -> None:
        assert self.verifier.average == 0.25
        for _ in range(50):
            self.ask()
            self.threads.skip()
        assert self.verifier.average == pytest.approx(0.1, abs=0.01)


class TestSlowest(Harness):
    def test_it_is_that_of_the_dearest_kind_met(self) -> None:
        assert self.verifier.slowest == 0.0
        for cost, seconds in ((4, 0.1), (5, 0.4), (4, 0.1)):
            self.threads.seconds = seconds
            self.ask(stored=bcrypt.hashpw(b"secret", bcrypt.gensalt(cost)).decode())
            self.threads.skip()
        assert self.verifier.slowest == pytest.approx(0.4)

    def test_each_kind_in_the_table_is_timed_at_start(self) -> None:
        kinds = [bcrypt.hashpw(b"x", bcrypt.gensalt(cost)).decode() for cost in (4, 5, 4)]
        self.verifier.learn(kinds)
        timing = self.begin(self.verifier.time_kinds())
        for _ in range(2):
            self.threads.skip()
        value_of(timing)
        assert len(self.threads.stored) == 2


class TestDecoy(Harness):
    def burnt(self) -> str:
        self.burn()
        self.threads.skip()
        return self.threads.stored[-1]

    def test_is_of_the_usual_scheme_and_cost(self) -> None:
        assert self.burnt() == DEFAULT_DECOY
        self.verifier.learn([STORED, "junk", ""])
        assert self.burnt() == schemes.decoy(STORED)
        self.verifier.learn([OTHER, OTHER.replace("$2b$", "$2a$"), OTHER[:-1] + ".", OTHER[:-1] + "/"])
        assert self.burnt() == schemes.decoy(OTHER)

    def test_one_odd_account_cannot_move_it(self) -> None:
        self.verifier.learn([STORED, STORED[:-1] + "."])
        self.verifier.learn([OTHER] * 1000)
        assert self.burnt() == schemes.decoy(STORED)

    def test_rows_remembered_are_bounded(self) -> None:
        self.verifier.learn(f"$2b$04${n:022d}{'a' * 31}" for n in range(2000))
        assert len(self.verifier._decoys) <= 256


class TestOneHashForTheSameQuestion(Harness):
    def test_fifty_at_once(self) -> None:
        answers = [self.ask(subject="a:7", network=f"n{n % 5}") for n in range(50)]
        assert len(self.threads.jobs) == 1
        self.threads.step()
        assert [value_of(answer) for answer in answers] == [True] * 50
        assert self.threads.jobs == deque()

    def test_fifty_that_wait(self) -> None:
        running = [self.ask() for _ in range(2)]
        answers = [self.ask(subject="a:7", network=f"n{n % 5}") for n in range(50)]
        for _ in range(3):
            self.threads.step()
        assert [value_of(answer) for answer in running + answers] == [True] * 52
        assert len(self.threads.stored) == 3
        assert self.sample("password_hashes_waiting") == 0

    def test_logins_that_do_not_exist(self) -> None:
        answers = [self.burn("l:bob") for _ in range(50)]
        self.threads.skip()
        for answer in answers:
            value_of(answer)
        assert len(self.threads.stored) == 1

    @pytest.mark.parametrize("other", [{"subject": "a:8"}, {"stored": OTHER}, {"secret": b"Secret"}])
    def test_what_differs_has_a_hash_of_its_own(self, other: dict[str, Any]) -> None:
        question: dict[str, Any] = {"secret": b"secret", "stored": STORED, "subject": "a:7"}
        first, second = self.ask(**question), self.ask(**question | other)
        assert len(self.threads.jobs) == 2
        self.threads.step()
        assert value_of(first) is True
        assert_pending(second)

    def test_nothing_is_kept_once_it_is_answered(self) -> None:
        for _ in range(2):
            answer = self.ask(subject="a:7")
            self.threads.step()
            assert value_of(answer) is True
        assert len(self.threads.stored) == 2

    def test_one_who_leaves_leaves_it_to_the_others(self) -> None:
        first, second = (self.ask(subject="a:7", network=network) for network in "ab")
        first.cancel()
        failure_of(first, CancelledError)
        self.threads.step()
        assert value_of(second) is True

    def test_one_who_leaves_while_waiting_leaves_it_to_the_others(self) -> None:
        for _ in range(2):
            self.ask()
        first, second = (self.ask(subject="a:7", network=network) for network in "ab")
        first.cancel()
        for _ in range(3):
            self.threads.step()
        assert value_of(second) is True

    def test_one_who_leaves_does_not_take_the_turn_of_another_from_the_same_network(self) -> None:
        for _ in range(2):
            self.ask()
        first, second = (self.ask(subject="a:7") for _ in range(2))
        first.cancel()
        for _ in range(3):
            self.threads.step()
        assert value_of(second) is True

    def test_a_crowded_network_does_not_hold_up_another_that_asks_the_same(self) -> None:
        for _ in range(6):
            self.ask()
        shared = [self.ask(subject="a:7", network=network) for network in "ab"]
        for _ in range(4):  # two that run, one of the crowd's, the shared one by the turn of "b"
            self.threads.step()
        assert [value_of(answer) for answer in shared] == [True, True]

    def test_one_who_joins_in_time_saves_one_who_came_too_late_for_a_place(self) -> None:
        for _ in range(2 + 8):
            self.ask()
        late = self.ask(subject="a:7")
        self.ask(subject="a:7", network="b")
        for _ in range(4):
            self.threads.step()
        assert value_of(late) is True

    def test_no_secret_shows(self) -> None:
        for n in range(4):
            self.ask(b"hunter2", subject=f"a:{n}")
        shown = repr(list(vars(self.verifier).values()))
        assert "a:3" in shown
        assert "hunter2" not in shown
        assert "$2b$04$a" not in shown


class TestTurnedAway(Harness):
    def test_when_it_would_wait_too_long_and_told_so_late(self) -> None:
        for _ in range(2 + 7):  # two run; seven wait for 0.25 s each in two threads, one more would wait for 1 s
            self.ask()
        assert self.verifier.estimated_wait("a") == 1.0
        self.ask()
        late = self.burn()
        self.clock.advance(0.99)
        assert_pending(late)
        self.clock.advance(0.01)
        failure_of(late, Busy)

    def test_those_who_would_wait_too_long_take_no_place(self) -> None:
        for _ in range(1000):
            self.ask()
        assert self.sample("password_hashes_waiting") == 8

    def test_the_estimate_follows_what_hashes_take(self) -> None:
        self.threads.seconds = 10.0
        first = self.ask()
        self.threads.step()
        assert value_of(first) is True
        for _ in range(2):
            self.ask()
        assert self.verifier.estimated_wait("a") == pytest.approx((0.25 * 0.9 + 10 * 0.1) / 2)
        self.threads.seconds = 0.0
        late = self.ask(), self.ask()
        self.threads.step()
        assert [answer.called for answer in late] == [False, False]
        assert len(self.threads.jobs) == 2  # 0.6 s is in time, 1.2 s is not
        assert self.sample("password_hashes_waiting") == 0

    def test_never_while_a_thread_is_free(self) -> None:
        self.threads.seconds = 100.0
        self.ask()
        self.threads.skip()
        assert self.verifier.average > 10.0
        assert self.verifier.estimated_wait("a") == 0.0
        self.ask()
        assert len(self.threads.jobs) == 1

    def test_at_hash_wait_though_the_estimate_was_better(self) -> None:
        for _ in range(2):
            self.ask()
        waits, joins = self.ask(subject="a:7"), self.ask(subject="a:7", network="b")
        self.clock.advance(0.99)
        assert_pending(waits)
        self.clock.advance(0.01)
        failure_of(waits, Busy)
        failure_of(joins, Busy)
        assert self.sample("password_hashes_waiting") == 0
        for _ in range(2):
            self.threads.step()
        assert self.threads.jobs == deque()

    def test_not_while_it_is_hashed(self) -> None:
        runs, joins = self.ask(subject="a:7"), self.ask(subject="a:7")
        self.clock.advance(60.0)
        assert_pending(joins)
        self.threads.step()
        assert value_of(runs) is value_of(joins) is True

    def test_a_place_given_up_can_be_had_again(self) -> None:
        leaving = [self.ask() for _ in range(2 + 8)]
        for answer in leaving[2:]:
            answer.cancel()
        assert self.verifier.estimated_wait("a") == 0.125

    def test_when_all_places_are_taken(self) -> None:
        self.registry = CollectorRegistry()
        self.verifier = self.make(places=3)
        answers = [self.ask(network=f"n{n}") for n in range(2 + 3 + 1)]
        assert self.sample("password_hashes_waiting") == 3
        for _ in range(5):
            self.threads.step()
        assert self.threads.jobs == deque()
        self.clock.advance(1.0)
        failure_of(answers[-1], Busy)

    def test_one_who_leaves_while_waiting_gives_the_turn_back(self) -> None:
        for _ in range(2):
            self.ask()
        gone = self.ask()
        gone.cancel()
        failure_of(gone, CancelledError)
        assert self.sample("password_hashes_waiting") == 0
        self.threads.step()
        self.threads.step()
        assert len(self.threads.jobs) == 0

    def test_one_who_leaves_while_hashing_keeps_the_thread(self) -> None:
        gone = self.ask()
        self.ask()
        waits = self.ask()
        gone.cancel()
        failure_of(gone, CancelledError)
        assert len(self.threads.jobs) == 2
        self.threads.step()
        assert len(self.threads.jobs) == 2
        self.threads.step()
        self.threads.step()
        assert value_of(waits) is True


class TestFair(Harness):
    def test_a_flood_holds_up_itself(self) -> None:
        flood = [self.ask(b"guess %d" % n, network="a") for n in range(1000)]
        mine = self.ask(b"secret", network="b")
        assert self.verifier.estimated_wait("b") == pytest.approx(0.25 * (2 + 1 + 1) / 2)  # one of each lane, mine, the next
        for _ in range(2):
            self.threads.skip()
        assert self.threads.secrets[2:] == [b"guess 2", b"secret"]
        for _ in range(2):
            self.threads.skip()
        assert value_of(mine) is True
        assert sum(answer.called for answer in flood) == 3

    def test_networks_take_turns(self) -> None:
        self.ask(), self.ask()
        for name in "aaabbc":
            self.ask(name.encode(), network=name)
        for _ in range(8):
            self.threads.skip()
        assert b"".join(self.threads.secrets[2:]) == b"abcaba"

    def test_first_come_first_served_in_one_network(self) -> None:
        for n in range(8):
            self.ask(b"%d" % n)
        for _ in range(8):
            self.threads.skip()
        assert b"".join(self.threads.secrets) == b"01234567"

    def test_a_full_lane_leaves_room_for_other_networks(self) -> None:
        for _ in range(100):
            self.ask(network="a")
        others = [self.ask(network=name) for name in "bcde"]
        assert self.sample("password_hashes_waiting") == 8 + 4
        self.threads.seconds = 0.0
        for _ in range(2 + 5):
            self.threads.skip()
        assert [value_of(answer) for answer in others] == [True] * 4


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 3), st.sampled_from([b"secret", b"guess", b""]), st.sampled_from("abc")),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("hash")),
    st.tuples(st.just("wait"), st.floats(0, 2)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 3))
def test_whatever_happens_everybody_has_an_answer_and_no_place_is_lost(steps: list[Any], threads: int) -> None:
    harness = Harness()
    harness.setup_method()
    harness.registry = CollectorRegistry()
    harness.verifier = harness.make(threads=threads)
    asked: list[tuple[bytes, Deferred[bool]]] = []
    left: set[int] = set()
    for step in steps:
        match step:
            case "ask", account, secret, network:
                asked.append((secret, harness.ask(secret, subject=f"a:{account}", network=network)))
            case "leave", number if number < len(asked) and not asked[number][1].called:
                asked[number][1].cancel()
                left.add(number)
            case ("hash",) if harness.threads.jobs:
                harness.threads.skip()
            case "wait", seconds:
                harness.clock.advance(seconds)
        assert len(harness.threads.jobs) <= threads
        assert harness.sample("password_hashes_waiting") == 0 or len(harness.threads.jobs) == threads
    while harness.threads.jobs:
        harness.threads.skip()
    harness.clock.advance(1.0)
    for number, (secret, answer) in enumerate(asked):
        _check_answer(secret, answer, left=number in left)
    assert not harness.clock.getDelayedCalls()
    assert not harness.verifier._jobs
    for _ in range(threads + 1):
        harness.ask()
    assert len(harness.threads.jobs) == threads


def _check_answer(secret: bytes, answer: Deferred[bool], *, left: bool) -> None:
    """The one for this password, or Busy; CancelledError for those who left, and for them alone."""
    try:
        assert value_of(answer) is (secret == b"secret")
        assert not left
    except CancelledError:
        assert left
    except Busy:
        assert not left


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
