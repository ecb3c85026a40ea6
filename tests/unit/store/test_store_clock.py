"""The store's clock: set by the database, carried on by a monotonic one."""

import time
from pathlib import Path

import pytest

from gateway.errors import ConfigError, Unavailable
from gateway.store.store_clock import StoreClock
from tests.pump import Pump
from tests.stores import running, store_url


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_it_says_what_the_store_says_and_goes_on_by_the_other_clock(tmp_path: Path) -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic)
    clock.read_once(store_url(tmp_path))
    began = clock.now()
    assert began == pytest.approx(time.time(), abs=60)
    monotonic.seconds += 3600
    assert clock.now() == pytest.approx(began + 3600, abs=1e-6)


def test_a_look_sets_it_right(tmp_path: Path) -> None:
    monotonic, pump = Monotonic(), Pump()
    clock = StoreClock(monotonic)
    with running(store_url(tmp_path), pump) as database:
        pump.result(clock.look(database))
        assert clock.now() == pytest.approx(time.time(), abs=60)
        monotonic.seconds += 100_000
        pump.result(clock.look(database))
        assert clock.now() == pytest.approx(time.time(), abs=60)


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises((Unavailable, ConfigError)):
        StoreClock(Monotonic()).read_once(f"sqlite:///{tmp_path}/nowhere/gateway.db")
