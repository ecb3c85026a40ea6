"""A kill campaign: rounds of load in which something is killed with -9 and comes back, and the account of it in the end."""

import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from tests.acceptance.deliveries import EXPLAINED, Kill, missing, repeats, summary
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.ledger import ends_empty
from tests.acceptance.smtpload import RECIPIENTS, Load
from tests.acceptance.victims import Gateway, JournalHop, Victim
from tests.acceptance.waiting import until

MESSAGES = 120  # in a round, of all gateways together
AWAY = 0.7  # seconds at most until what was killed is started again: the others work without it meanwhile
START_PATIENCE = 1.5  # seconds after which a start is killed, too, at most
PATIENCE = 90.0  # seconds
_DELIVERED = re.compile(r'"queue_id": "([^"]+)".* "field": "([^"]+)".*"event": "delivered"')


class Campaign:
    """`gateways` serve already and deliver to `hop`; the first listener of each has a port of its own for ever."""

    def __init__(
        self, program: Path, folder: Path, gateways: Sequence[GatewayProcess], hop: JournalHop, chance: random.Random
    ) -> None:
        self._program = program
        self._ledger = folder / "ledger"
        self._gateways = gateways
        self._hop = hop
        self._chance = chance
        self._rounds = count(1)
        self.kills: list[Kill] = []

    def round(self, victim: Victim) -> None:
        """Mail for all gateways; in the middle of it `victim` is killed, and comes back."""
        number = next(self._rounds)
        before = len(self._accepted())
        with ExitStack() as stack:
            loads = [stack.enter_context(self._load(n, number)) for n in range(len(self._gateways))]
            enough = before + self._chance.randint(1, MESSAGES * 2 // 3)
            until(lambda: len(self._accepted()) >= enough, self._story, PATIENCE)
            time.sleep(self._chance.uniform(0.0, 0.05))  # else it would always be just after a look at the ledger
            self._strike(victim)
            until(lambda: all(load.over for load in loads), self._story, PATIENCE)

    def _load(self, gateway: int, number: int) -> Load:
        port = self._gateways[gateway].at.settings["listen"][0]["port"]
        return Load(self._program, port, MESSAGES // len(self._gateways), f"r{number}g{gateway}", self._ledger)

    def _strike(self, victim: Victim) -> None:
        self._kill(victim)
        time.sleep(self._chance.uniform(0.0, AWAY))
        if isinstance(victim, Gateway) and self._chance.random() < 0.3:
            victim.process.spawn()
            time.sleep(self._chance.uniform(0.0, START_PATIENCE))
            self._kill(victim)
        victim.revive()

    def _kill(self, victim: Victim) -> None:
        begun = time.monotonic_ns()
        victim.kill()
        self.kills.append(Kill(victim.who, begun, time.monotonic_ns()))

    def settle(self) -> None:
        """Everything has arrived whole, nothing twice without a reason, and nothing is left over."""
        accepted = self._accepted()
        until(lambda: not missing(self._hop.entries(), accepted, RECIPIENTS), self._lost, PATIENCE)
        for gateway in self._gateways:
            ends_empty(gateway)
        entries = self._hop.entries()
        print(f"accepted {len(accepted)}; {summary(entries, self.kills)}")  # noqa: T201
        _none("not whole", [entry for entry in entries if not entry.whole])
        _none("again without a reason", [repeat for repeat in repeats(entries, self.kills) if repeat[0] not in EXPLAINED])
        # whoever dies, what is written down as delivered is not sent again
        _none("written down twice", [what for what, times in self._delivered().items() if times > 1])
        _none("unexpected", [line for gateway in self._gateways for line in _all_lines(gateway) if "unexpected error" in line])

    def _accepted(self) -> list[str]:
        return self._ledger.read_text("ascii").split() if self._ledger.exists() else []

    def _delivered(self) -> Counter[tuple[str, str]]:
        """How often a gateway said that it has written down a delivery: by queue id and kind of recipient."""
        lines = [line for gateway in self._gateways for line in _all_lines(gateway)]
        return Counter((found[1], found[2]) for line in lines if (found := _DELIVERED.search(line)))

    def _lost(self) -> str:
        return f"missing {missing(self._hop.entries(), self._accepted(), RECIPIENTS)[:5]}\n{self._story()}"

    def _story(self) -> str:
        return f"{self.kills[-3:]}\n" + "\n".join(gateway.story() for gateway in self._gateways)


def _none(what: str, found: Sequence[object]) -> None:
    assert not found, f"{len(found)} {what}: {found[:5]}"


def _all_lines(gateway: GatewayProcess) -> list[str]:
    """Of all its lives; a kill may have cut one."""
    return gateway.log_file.read_text("utf-8").splitlines()
