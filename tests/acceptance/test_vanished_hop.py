"""A next hop that vanishes without a reset: the second hop gets everything, what was under way as well."""

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, session
from tests.acceptance.namespaces import THERE, Networks, inside, networks
from tests.acceptance.smarthost import SILENCE, Smarthost
from tests.acceptance.waiting import until

__all__ = ["networks"]
FOUND_OUT = 150.0  # seconds, on a busy machine; without keepalive it took 330


@pytest.fixture
def far(networks: Networks) -> Iterator[Smarthost]:
    """At the other end of the cable."""
    with inside(networks.there), Smarthost(THERE) as hop:
        yield hop


def test_a_hop_that_vanishes_holds_nothing_up_for_long(install: Install, networks: Networks, far: Smarthost) -> None:
    with inside(networks.here), Smarthost() as near:
        gateway = install(relay={"next_hop": [far.url, near.url], "retry": ["1s"]}).start()
        with session(gateway) as client:
            for number in range(3):
                client.sendmail(LOGIN, ["bob@example.net"], message(f"before{number}"))
            until(lambda: len(far.deliveries) == 3, gateway.story)
            far.faults = {b".": SILENCE, b"DATA": SILENCE}
            for name in ("unanswered", "unasked"):
                client.sendmail(LOGIN, ["bob@example.net"], message(name))
            until(lambda: not far.faults, gateway.story)
            networks.cut()
            for number in range(20):
                client.sendmail(LOGIN, ["bob@example.net"], message(f"after{number}"))
        until(lambda: len(near.deliveries) == 22, gateway.story, FOUND_OUT)
        assert not gateway.logged("hop up")
        assert len({str(delivery.message["Message-ID"]) for delivery in near.deliveries}) == 22
        gateway.stop()
