"""Processor time and memory of a program with all that it has started."""

import os
import subprocess
import sys

from benchmarks.processes import MemoryWatch, cpu_seconds, memory, tree
from tests.acceptance.waiting import until

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"  # clocks of processes tick in 10 ms, user and system apart
HOLD = "held = bytearray(50_000_000)\nprint('held', flush=True)\ninput()\n"


def test_a_child_belongs_to_the_tree_and_its_time_stays_after_its_end() -> None:
    before = cpu_seconds([os.getpid()])
    with subprocess.Popen([sys.executable, "-c", f"{BURN}input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in tree([os.getpid()])
        assert os.getpid() not in tree([child.pid])
        until(lambda: cpu_seconds([child.pid]) >= 0.25, "the child has used its time")
        child.communicate(b"\n")
    assert child.pid not in tree([os.getpid()])
    assert cpu_seconds([os.getpid()]) - before >= 0.25


def test_memory_of_a_child_counts() -> None:
    before = memory([os.getpid()])
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory([os.getpid()]) - before > 40_000_000
        with MemoryWatch([child.pid]) as watch:
            until(lambda: watch.peak, "it was looked at")
        assert watch.peak > 40_000_000
        child.communicate(b"\n")
    assert memory([child.pid]) == 0
