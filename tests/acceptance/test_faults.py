"""A disk that fails at any step of accepting: never a 250 for what is not there, and all is well when the disk is."""

from itertools import count

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.mail import message
from tests.acceptance.wire import Reply, Wire, signed_in

FULL, BROKEN = "452 4.3.1", "451 4.3.0"
SMALL, LARGE = 2_000, 300_000  # a body in its row, and one in the spool

pytestmark = pytest.mark.timeout(240)


class Sender:
    """One session that lives through all faults, and the list of what got a 250."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._wire: Wire = signed_in(gateway)
        self._names = count()
        self.accepted: set[str] = set()

    def send(self, size: int) -> Reply:
        name = f"n{next(self._names)}"
        self._wire.envelope("bob@example.net")
        said = self._wire.data(message(name, body=b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)))
        if said.code == 250:
            self.accepted.add(f"<{name}@test.example>")
        return said
