"""The end of a test over real sockets: both ends of its connections have heard of it."""

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection

reactor: Any = global_reactor


def all_closed() -> Deferred[None]:
    """Fires when the reactor has no connection left. The first cleanup of a test, so the last to run.

    Which end of a connection hears first that it is over is the kernel's affair, and trial fails a test that leaves the other.
    """
    return Deferred.fromCoroutine(_until_closed())


async def _until_closed() -> None:
    while any(isinstance(each, Connection) for each in [*reactor.getReaders(), *reactor.getWriters()]):
        await deferLater(reactor, 0.001)
