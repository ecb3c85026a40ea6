"""When the store is asked whether mail under way is still ours, and what its answers mean."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway.queue.lease import SAFE, TRUSTED, Lease, LeaseLost
from tests.unit.awaiting import assert_pending, failure_of, value_of
from tests.unit.relay.faulty_hop import Store, message

MAIL = message("b@y.example", "c@y.example")


class Watch:
    """A lease taken at second 0, its store and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.lease = Lease(self.store.still_ours, MAIL.recipients, self.clock, 0.0)

    def confirm(self, *, at: float) -> "Deferred[None]":
        self.clock.advance(at - self.clock.seconds())
        return Deferred.fromCoroutine(self.lease.confirm())


def test_what_the_store_has_just_said_is_not_asked_again() -> None:
    it = Watch()
    it.store.gone = {1}
    value_of(it.confirm(at=TRUSTED))
    assert it.store.looks == 0


def test_later_it_is_asked_and_its_answer_holds_as_long() -> None:
    it = Watch()
    value_of(it.confirm(at=TRUSTED + 1))
    value_of(it.confirm(at=2 * TRUSTED + 1))
    assert it.store.looks == 1
    value_of(it.confirm(at=2 * TRUSTED + 2))
    assert it.store.looks == 2


def test_one_that_is_gone_loses_it_for_all() -> None:
    it = Watch()
    it.store.gone = {2}
    failure_of(it.confirm(at=TRUSTED + 1), LeaseLost)


@pytest.mark.parametrize(("at", "lost"), [(SAFE, False), (SAFE + 1, True)])
def test_a_store_that_is_away_is_waited_for_only_when_we_may_count_as_dead(at: float, *, lost: bool) -> None:
    it = Watch()
    it.store.away = True
    confirmed = it.confirm(at=at)
    if lost:
        failure_of(confirmed, LeaseLost)
    else:
        value_of(confirmed)


def test_stopped_while_it_waited_for_the_answer_it_asks_again() -> None:
    it = Watch()
    slow = it.store.slow = Deferred()
    confirmed = it.confirm(at=TRUSTED + 1)
    it.clock.advance(SAFE + 1)
    it.store.slow, answered = Deferred(), slow
    answered.callback(None)
    assert_pending(confirmed)
    it.store.gone = {1}
    it.store.slow.callback(None)
    failure_of(confirmed, LeaseLost)
    assert it.store.looks == 2


def test_an_answer_that_takes_a_little_is_good_enough() -> None:
    it = Watch()
    it.store.slow = Deferred()
    confirmed = it.confirm(at=TRUSTED + 1)
    it.clock.advance(SAFE)
    it.store.slow.callback(None)
    value_of(confirmed)
    assert it.store.looks == 1
