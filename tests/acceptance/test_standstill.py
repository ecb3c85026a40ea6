"""A machine that stood still (SIGSTOP) while it delivered, and whose mail is another's when it goes on (SIGCONT).

Whatever it has not sent to the last octet by then, it does not send: before MAIL and before the final dot it looks whether the
mail is still its own. And what it hears late of the rest is not written down. In the suite, the test ends the leases itself, as
another machine does with the dead; `make soak` waits until one does, which takes a minute.
"""

import signal
import threading
from collections.abc import Iterator

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.ledger import ends_empty
from tests.acceptance.mail import message, session, submit
from tests.acceptance.rounds import SOAK
from tests.acceptance.shared_store import SharedStore, shared_store
from tests.acceptance.smarthost import SILENCE, Smarthost
from tests.acceptance.waiting import until

__all__ = ["shared_store"]

STAGES = {"mail": b"MAIL", "rcpt": b"RCPT", "data": b"DATA", "body": b"BODY", "dot": b"."}  # who waits there, for what
QUEUED = ("first", "second", "third")  # who waits for a connection meanwhile
TRUSTED = 6  # seconds, somewhat more than those for which a machine trusts its lease (gateway/queue/lease.py)
TAKEN_OVER = 90.0  # seconds, on a busy machine; a minute is what is promised
LARGE = b"".join(b"line %d\r\n" % n for n in range(600_000))  # more than all buffers between two processes hold


class StagedHop(Smarthost):
    """Each message gets stuck in the stage that its sender's address, of the form ann+STAGE@, asks for, until `let_go`."""

    def __init__(self) -> None:
        super().__init__()
        self.extensions = ["8BITMIME"]  # no pipelining: one stage after the other
        self.let_go = threading.Event()
        self.stuck: set[str] = set()
        self._session = threading.local()  # a connection is a thread

    def reply(self, command: bytes, usual: bytes = b"250 2.0.0 ok\r\n") -> bytes:
        verb = command.split(b" ")[0]
        if verb == b"MAIL":
            self._session.stage = command.partition(b"+")[2].partition(b"@")[0].decode()
        stage = getattr(self._session, "stage", "")
        if STAGES.get(stage) == verb and not self.let_go.is_set():
            self.stuck.add(stage)
            assert self.let_go.wait(TAKEN_OVER + 60.0)
        return super().reply(command, SILENCE if verb == b"BODY" else usual)


@pytest.fixture
def staged() -> Iterator[StagedHop]:
    with StagedHop() as hop:
        yield hop
        hop.let_go.set()


def _send_all(gateway: GatewayProcess, hop: StagedHop) -> None:
    """A message for each stage, and some that find no connection."""
    with session(gateway) as client:
        for name in STAGES:
            body = LARGE if name == "body" else b"short\r\n"
            client.sendmail(LOGIN.replace("@", f"+{name}@"), [f"{name}@example.net"], message(name, body=body))
        until(lambda: hop.stuck == STAGES.keys(), gateway.story)
        for name in QUEUED:
            client.sendmail(LOGIN, [f"{name}@example.net"], message(name))


def _bury(store: SharedStore, two: GatewayProcess) -> None:
    """What another machine does with one that is dead, once the leases are so old that their owner would look."""
    if SOAK:
        until(lambda: two.logged("mail of gateways that died was taken over"), two.story, TAKEN_OVER)
        return
    fresh = f"accepted > extract(epoch from clock_timestamp()) - {TRUSTED}"
    until(lambda: not store.count("message", fresh), "the leases are no longer trusted without a look")
    store.database.run("DELETE FROM process WHERE id IN (SELECT process FROM recipient WHERE process IS NOT NULL)")
    store.database.run("UPDATE recipient SET process = NULL WHERE process IS NOT NULL")


def test_it_sends_nothing_that_it_could_know_is_another_s(
    shared_store: SharedStore, smarthost: Smarthost, staged: StagedHop
) -> None:
    everybody = {*STAGES, *QUEUED}
    anybody = {"envelope": "any"}
    relay = {"next_hop": [staged.url], "connections": len(STAGES)}
    one = shared_store.machine(relay=relay, senders=anybody).start()
    two = shared_store.machine(relay={"next_hop": [smarthost.url]}, senders=anybody).start()
    _send_all(one, staged)
    one.signal(signal.SIGSTOP)
    _bury(shared_store, two)
    until(lambda: len(smarthost.deliveries) == len(everybody), two.story, TAKEN_OVER)
    two.until_logged("delivered", len(everybody))

    staged.let_go.set()
    one.signal(signal.SIGCONT)
    # of the one whose final reply it waited for, and of the one whose body is gone since the other has delivered it
    too_late = "outcomes of deliveries came too late and were dropped"
    until(lambda: sum(line["recipients"] for line in one.logged(too_late)) == 2, one.story)
    one.until_logged("not sent, it is not ours any more", len(everybody) - 2)
    submit(one, message("later"), "later@example.net")
    one.until_logged("delivered")

    assert [delivery.recipients for delivery in staged.deliveries] == [("dot@example.net",), ("later@example.net",)]
    assert sorted(name for delivery in smarthost.deliveries for name in delivery.recipients) == sorted(
        f"{name}@example.net" for name in everybody
    )
    hops = shared_store.database.run("SELECT DISTINCT hop FROM recipient WHERE address NOT LIKE 'later%'")
    assert hops == [(smarthost.url.removeprefix("smtp://").partition("?")[0],)]  # what the late one heard is not kept
    ends_empty(one)
    assert len(one.logged("delivered")) == 1  # what came too late is not told as if it had been written down
    assert two.stop() == 0
