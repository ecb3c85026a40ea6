"""Writers in line: one at a time, nobody twice before the one who waits, and none held up by one who died."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, text

from gateway.metrics import Metrics
from gateway.store.database import Database
from gateway.store.turn import Turn
from tests.pump import Pump
from tests.stores import store_url


def somebody_waits(state_dir: Path) -> bool:
    with (state_dir / "writer-next").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def until(condition: Callable[[], bool]) -> None:
    while not condition():  # pytest's own limit ends it
        os.sched_yield()


def test_only_one_writes_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    def write(_: int) -> None:
        nonlocal inside, most
        turn = Turn(tmp_path)
        for _ in range(50):
            with turn:
                inside += 1
                os.sched_yield()
                most = max(most, inside)
                inside -= 1

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert most == 1


def test_who_has_just_written_lets_the_next_one_go_first(tmp_path: Path) -> None:
    order: list[str] = []
    busy = Turn(tmp_path)

    def other() -> None:
        with Turn(tmp_path):
            order.append("other")

    with ThreadPoolExecutor() as writers:
        with busy:
            waiting = writers.submit(other)
            until(lambda: somebody_waits(tmp_path))
            order.append("busy")
        with busy:
            order.append("busy again")
        waiting.result()
    assert order == ["busy", "other", "busy again"]


def test_the_turn_of_one_who_dies_is_over(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from gateway.store.turn import Turn\n"
    program += "with Turn(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()"
    root = Path(__file__).parent.parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with (tmp_path / "writer").open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        writer.kill()
        with Turn(tmp_path):
            pass


def test_where_there_can_be_no_lock_nobody_waits(tmp_path: Path) -> None:
    with Turn(tmp_path / "missing"), Turn(tmp_path / "missing"):
        pass


def test_what_comes_while_the_writer_waits_is_committed_with_it(tmp_path: Path) -> None:
    pump, metrics = Pump(), Metrics(CollectorRegistry())
    database = Database(store_url(tmp_path), reactor=pump, metrics=metrics, clock=lambda: 0.0, turn=Turn(tmp_path))
    database.start()

    def look(connection: Connection) -> int:
        return int(connection.execute(text("SELECT 1")).scalar_one())

    with Turn(tmp_path):
        first = database.write(look)
        pump.turn()
        until(lambda: somebody_waits(tmp_path))
        more = [database.write(look) for _ in range(3)]
        assert not first.called
    assert [pump.result(each) for each in (first, *more)] == [1, 1, 1, 1]
    assert metrics.registry.get_sample_value("smtp_gateway_store_commit_items_sum") == 4
    assert metrics.registry.get_sample_value("smtp_gateway_store_commit_items_count") == 1
    pump.result(database.stop())
