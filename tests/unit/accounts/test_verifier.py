"""The queue of slow hashes, on a clock and on threads that the test turns by hand."""

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
from gateway.accounts.decoys import DEFAULT_DECOY, REMEMBERED, Decoys
from gateway.accounts.hash_threads import HashThreads
from gateway.accounts.ports import Busy
from gateway.accounts.verifier import Verifier
from gateway.metrics import Metrics
from tests.unit.awaiting import assert_pending, failure_of, value_of

T = TypeVar("T")
STORED = bcrypt.hashpw(b"secret", b"$2b$04$" + b"a" * 21 + b".").decode()
HEAVY = "$argon2id$v=19$m=8,t=1,p=1$" + "a" * 22 + "$" + "a" * 43
OTHER = bcrypt.hashpw(b"secret", b"$2b$05$" + b"a" * 21 + b".").decode()


class Threads:
    """Hash threads that do one job when told to, taking `seconds` for it by the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.1
        self.jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self.secrets: list[bytes] = []  # of all jobs, in the order they came
        self.stored: list[str] = []
        self.places: list[int] = []

    def run(self, function: Callable[[], T], places: int, /) -> Deferred[T]:
        secret, stored = function.args  # type: ignore[attr-defined]
        self.secrets.append(secret)
        self.stored.append(stored)
        self.places.append(places)
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
        self.guesses = Threads(self.clock)
        self.registry = CollectorRegistry()
        self.verifier = self.make()
        self._asked = 0

    def make(self, **arguments: Any) -> Verifier:
        threads = arguments.pop("threads", 2)
        people = HashThreads(self.threads.run, places=threads, for_heavy=min(3, threads))
        guessers = HashThreads(self.guesses.run, places=1)
        return Verifier(people, guessers, Metrics(self.registry), self.clock, **{"hash_wait": 1.0, **arguments})

    def begin(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(coroutine)

    def ask(
        self, secret: bytes = b"secret", stored: str = STORED, subject: str = "", network: str = "a", *, known: bool = False
    ) -> Deferred[bool]:
        """Verify, for an account of its own unless `subject` says whose."""
        self._asked += 1
        subject = subject or f"a:{self._asked}"
        return self.begin(self.verifier.verify(secret, stored, subject=subject, network=network, known=known))

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
        def refuse(_: Callable[[], T], places: int, /) -> Deferred[T]:
            raise RuntimeError("the pool is closed")

        threads = HashThreads(refuse, places=1)
        verifier = Verifier(threads, threads, Metrics(CollectorRegistry()), self.clock, hash_wait=1.0)
        for _ in range(2):
            failure_of(self.begin(verifier.verify(b"secret", STORED, subject="a:1", network="a")), RuntimeError)

    def test_nobody_fits_an_unusable_hash_and_it_costs_one(self) -> None:
        for stored in ("", "!", "*"):
            answer = self.ask(b"", stored)
            assert_pending(answer)
            self.threads.skip()
            assert value_of(answer) is False
        assert self.threads.stored == [DEFAULT_DECOY] * 3


class TestSlowest(Harness):
    def test_it_is_that_of_the_dearest_kind_met(self) -> None:
        assert self.verifier.slowest == 0.0
        for cost, seconds in ((4, 0.1), (5, 0.4), (4, 0.1)):
            self.threads.seconds = seconds
            self.ask(stored=bcrypt.hashpw(b"secret", bcrypt.gensalt(cost)).decode())
            self.threads.skip()
        assert self.verifier.slowest == pytest.approx(0.4)

    def test_one_that_was_hashed_while_the_machine_slept_says_little(self) -> None:
        self.threads.seconds = 8 * 3600.0
        self.ask()
        self.threads.skip()
        assert self.verifier.slowest == 30.0
        for _ in range(2):
            self.ask()
        assert self.verifier.estimated_wait("a") < 2.0

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
        decoys = Decoys()
        for n in range(2000):
            decoys.learn(f"$2b$04${n:022d}{'a' * 31}")
        assert len(decoys) == REMEMBERED


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


class TestPeopleAndGuessers(Harness):
    def guess(self, times: int, network: str = "g%d") -> None:
        """Wrong ones for strangers, each from a network of its own."""
        for n in range(times):
            self.ask(b"guess %d" % n, network=network.replace("%d", str(n)))
            (self.threads if self.threads.jobs else self.guesses).skip()

    def test_strangers_are_people_until_most_of_what_they_ask_is_wrong(self) -> None:
        self.guess(8)
        self.ask(), self.ask()
        assert len(self.threads.jobs) == 2
        assert not self.guesses.secrets

    def test_strangers_of_all_networks_are_guessers_then(self) -> None:
        self.guess(9)
        stranger = self.ask(network="new")
        assert not self.threads.jobs
        self.guesses.skip()
        assert value_of(stranger) is True

    def test_those_who_are_known_from_their_network_are_people_whatever_happens(self) -> None:
        self.guess(9)
        crowd = [self.ask(b"guess", network=f"n{n}") for n in range(10)]
        owners = [self.ask(network="home", known=True) for _ in range(2)]
        assert len(self.guesses.jobs) == 1
        for _ in range(2):
            self.threads.skip()
        assert [value_of(owner) for owner in owners] == [True, True]
        assert not any(answer.called for answer in crowd)

    def test_a_crowd_of_guessers_is_no_part_of_an_owners_wait(self) -> None:
        self.guess(9)
        for n in range(5):
            self.ask(b"guess", network=f"n{n}")
        assert self.verifier.estimated_wait("home", known=True) == 0.0
        assert self.verifier.estimated_wait("n9") > 0.2

    def test_wrong_passwords_of_people_who_are_known_raise_no_doubt(self) -> None:
        for n in range(20):
            self.ask(b"typo %d" % n, network="home", known=True)
            self.threads.skip()
        self.ask()
        assert len(self.threads.jobs) == 1

    def test_right_ones_end_it(self) -> None:
        self.guess(11)
        for _ in range(2):
            self.ask()
            self.guesses.skip()
        self.ask()
        assert len(self.threads.jobs) == 1

    def test_time_ends_it(self) -> None:
        self.guess(12)
        self.clock.advance(60.0)
        self.ask()
        assert len(self.threads.jobs) == 1

    def test_those_who_waited_as_people_go_on_as_guessers(self) -> None:
        self.guess(7)
        for n in range(3):
            self.ask(b"another %d" % n, network=f"n{n}")
        last = self.ask(network="new")
        for _ in range(2):
            self.threads.skip()
        owner = self.ask(network="home", known=True)
        assert len(self.threads.jobs) == 2  # the third, which ran already, and the owner
        self.guesses.skip()
        assert value_of(last) is True
        assert_pending(owner)


class TestOneAccountThatAsksOften(Harness):
    """Known or not, right or wrong: it is not to have the threads of people without end."""

    def begun(self) -> list[bytes]:
        """What is hashed for people of forty that are asked one after the other."""
        while len(self.threads.secrets + self.guesses.secrets) < 40:
            self.ask(b"%d" % len(self.threads.secrets + self.guesses.secrets), subject="a:7", network="home", known=True)
            (self.threads if self.threads.jobs else self.guesses).skip()
        return self.threads.secrets

    def test_wrong_ones_from_a_known_network(self) -> None:
        assert len(self.begun()) == 4 + 9 - 1

    def test_right_ones(self) -> None:
        longer = b"p" * 72
        stored = bcrypt.hashpw(longer, bcrypt.gensalt(4)).decode()
        for n in range(40):
            self.ask(longer + b"%d" % n, stored, subject="a:7", network="home", known=True)
            (self.threads if self.threads.jobs else self.guesses).step()
        assert len(self.threads.secrets) == 4 + 9 - 1

    def test_those_who_hang_up(self) -> None:
        for n in range(40):
            self.ask(b"%d" % n, subject="a:7", network="home", known=True).cancel()
            (self.threads if self.threads.jobs else self.guesses).skip()
        assert len(self.threads.secrets) == 4 + 9 - 1

    def test_many_at_once_count_before_they_are_hashed(self) -> None:
        for n in range(40):
            self.ask(b"%d" % n, subject="a:7", network=f"n{n}", known=True)
        while self.threads.jobs:
            self.threads.skip()
        assert len(self.threads.secrets) == 4

    def test_others_who_are_known_stay_people_and_so_does_the_owner_when_strangers_do_it(self) -> None:
        for n in range(40):
            self.ask(b"%d" % n, subject="a:7", network=f"n{n}")
        self.threads.skip()
        self.threads.skip()
        for subject in ("a:7", "a:8"):
            owner = self.ask(b"secret", subject=subject, network="home", known=True)
            self.threads.skip()
            assert value_of(owner) is True

    def test_one_who_was_told_to_come_again_has_not_had_a_hash(self) -> None:
        running = [self.ask() for _ in range(2)]
        for n in range(20):
            late = self.ask(b"%d" % n, subject="a:7", network="home", known=True)
            self.clock.advance(1.0)
            failure_of(late, Busy)
        assert not any(answer.called for answer in running)
        for _ in running:
            self.threads.skip()
        self.ask(b"secret", subject="a:7", network="home", known=True)
        self.ask(b"secret", subject="a:9", network="home")
        assert len(self.threads.jobs) == 2

    def test_each_kind_of_hash_is_timed_as_for_people(self) -> None:
        self.verifier.learn(f"$2b${cost:02d}${'a' * 53}" for cost in range(4, 17))
        timing = self.begin(self.verifier.time_kinds())
        for _ in range(13):
            self.threads.skip()
        value_of(timing)


class TestHeavyHashes(Harness):
    """Those that take much memory have three places."""

    def setup_method(self) -> None:
        super().setup_method()
        self.registry = CollectorRegistry()
        self.verifier = self.make(threads=6)

    def test_as_many_as_the_places_are_for(self) -> None:
        for _ in range(3):
            self.ask(stored=HEAVY)
        assert self.threads.places == [3, 3]

    def test_nobody_passes_one_that_waits_for_room(self) -> None:
        self.ask(stored=HEAVY)
        self.ask()
        self.ask(stored=HEAVY)
        self.ask(b"light")
        self.ask(known=True)  # it was their turn
        self.ask(known=True)
        assert self.threads.places == [3, 1, 1]
        self.threads.skip()
        assert self.threads.places == [3, 1, 1, 3, 1]
        self.threads.skip()
        assert self.threads.places == [3, 1, 1, 3, 1, 1]
        assert self.sample("password_hashes_waiting") == 0

    def test_all_places_are_given_back(self) -> None:
        for stored in (HEAVY, STORED) * 3:
            self.ask(stored=stored)
        while self.threads.jobs:
            self.threads.skip()
        for _ in range(7):
            self.ask()
        assert len(self.threads.jobs) == 6

    def test_a_guesser_has_one_place_for_it(self) -> None:
        for n in range(9):
            self.ask(b"guess %d" % n)
            self.threads.skip()
        self.ask(stored=HEAVY)
        assert self.guesses.places == [1]


STEPS = st.one_of(
    st.tuples(
        st.just("ask"),
        st.integers(0, 3),
        st.sampled_from([b"secret", b"guess", b""]),
        st.sampled_from("abc"),
        st.sampled_from([STORED, HEAVY]),
        st.booleans(),
    ),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("hash")),
    st.tuples(st.just("guess")),
    st.tuples(st.just("wait"), st.floats(0, 2)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 4))
def test_whatever_happens_everybody_has_an_answer_and_no_place_is_lost(steps: list[Any], threads: int) -> None:
    harness = Harness()
    harness.setup_method()
    harness.registry = CollectorRegistry()
    harness.verifier = harness.make(threads=threads)
    asked: list[tuple[bytes, Deferred[bool]]] = []
    left: set[int] = set()
    for step in steps:
        match step:
            case "ask", account, secret, network, stored, known:
                asked.append((secret, harness.ask(secret, stored, subject=f"a:{account}", network=network, known=known)))
            case "leave", number if number < len(asked) and not asked[number][1].called:
                asked[number][1].cancel()
                left.add(number)
            case ("hash",) if harness.threads.jobs:
                harness.threads.skip()
            case ("guess",) if harness.guesses.jobs:
                harness.guesses.skip()
            case "wait", seconds:
                harness.clock.advance(seconds)
        assert len(harness.threads.jobs) <= threads
        assert len(harness.guesses.jobs) <= 1
        busy = harness.threads.jobs or harness.guesses.jobs
        assert busy or not harness.sample("password_hashes_waiting")
    while harness.threads.jobs or harness.guesses.jobs:
        (harness.threads if harness.threads.jobs else harness.guesses).skip()
    harness.clock.advance(1.0)
    for number, (secret, answer) in enumerate(asked):
        _check_answer(secret, answer, left=number in left)
    assert not harness.clock.getDelayedCalls()
    assert not harness.verifier._jobs
    for _ in range(threads + 1):
        harness.ask(known=True)
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
