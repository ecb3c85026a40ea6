"""Two networks of the test's own, joined by a cable that can be cut without a word to either end. Needs root and iproute2."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.installation import require_program

HERE, THERE = "198.18.0.1", "198.18.0.2"  # RFC 2544: for tests of networks
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Networks:
    """`here` and `there` are names of network namespaces, whose addresses are HERE and THERE."""

    def __init__(self, name: str) -> None:
        self.here, self.there = f"{name}-here", f"{name}-there"

    def make(self) -> None:
        _ip("netns", "add", self.here)
        _ip("netns", "add", self.there)
        _ip("link", "add", "cable", "netns", self.here, "type", "veth", "peer", "name", "cable", "netns", self.there)
        for network, address in ((self.here, HERE), (self.there, THERE)):
            _ip("-n", network, "address", "add", f"{address}/30", "dev", "cable")
            for link in ("lo", "cable"):
                _ip("-n", network, "link", "set", link, "up")

    def cut(self) -> None:
        """From now on nothing that `there` sends arrives: no answer, no acknowledgement, no reset."""
        _ip("-n", self.there, "route", "add", "blackhole", f"{HERE}/32")

    def remove(self) -> None:
        for network in (self.here, self.there):
            subprocess.run([require_program("ip"), "netns", "delete", network], check=False, capture_output=True)


@pytest.fixture
def networks() -> Iterator[Networks]:
    made = Networks(f"gateway-test-{os.getpid()}")
    try:
        made.make()
        yield made
    finally:
        made.remove()


@contextmanager
def inside(network: str) -> Iterator[None]:
    """What this thread opens meanwhile, and the threads and processes that it starts, is in that network."""
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path(f"/run/netns/{network}").open("rb") as away:
        _enter(away.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    done = subprocess.run([require_program("ip"), *arguments], capture_output=True, text=True, check=False)
    if "not permitted" in done.stderr:
        pytest.skip(f"ip: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
