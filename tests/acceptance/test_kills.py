"""kill -9 of whatever there is, at random moments under load: what got a 250 arrives, and twice only for a reason.

On SQLite and on PostgreSQL, with one process, with workers, with two gateways over one store. `make soak ROUNDS=30` for more.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from tests.acceptance.campaign import Campaign
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import run_tool
from tests.acceptance.rounds import ROUNDS, chance
from tests.acceptance.smtpload import for_load, smtpload
from tests.acceptance.victims import Gateway, JournalHop, Parent, Store, Victim, Worker, hop
from tests.servers.databases import Postgresql

__all__ = ["hop", "smtpload"]
pytestmark = pytest.mark.timeout(300 + 30 * ROUNDS)

SHAPES = {"one process": (1, 1), "workers": (1, 2), "two gateways": (2, 1)}  # gateways, workers of each


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[Postgresql | None]:
    """The server of the store, if it has one."""
    found = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    yield found
    if found is not None and not found.process.runs:  # a test ended while it was away
        found.process.start()


def _gateways(install: Install, server: Postgresql | None, hop: JournalHop, shape: str) -> list[GatewayProcess]:
    """So many, with one store and one login table, serving."""
    gateways, workers = SHAPES[shape]
    made = [install(for_load(hop.url, f"gateway{number}.example"), server={"workers": workers}) for number in range(gateways)]
    first = made[0].at
    store = server.database().url if server else f"sqlite:///{first.state}/gateway.db"
    for each in made:
        each.at.write_settings({"store": {"url": store}, "accounts": {"url": f"sqlite:///{first.accounts.path}"}})
    if server:
        done = run_tool(first.folder, "store", "migrate")
        assert done.returncode == 0, done.stderr
    return [each.start() for each in made]


def _victims(
    gateways: Sequence[GatewayProcess], server: Postgresql | None, hop: JournalHop, luck: random.Random
) -> list[Victim]:
    found: list[Victim] = [hop, *map(Gateway, gateways)]
    for each in gateways:
        found += [Parent(each), Worker(each, luck)] if each.at.settings["server"]["workers"] > 1 else []
    return [*found, Store(server.process)] if server else found


def _in_turn(victims: list[Victim], rounds: int, luck: random.Random) -> Iterator[Victim]:
    """Each of them at least once, in any order."""
    luck.shuffle(victims)
    for _, victim in zip(range(max(rounds, len(victims))), cycle(victims), strict=False):
        yield victim


@pytest.mark.parametrize("shape", SHAPES)
def test_what_got_a_250_arrives(
    shape: str, install: Install, server: Postgresql | None, hop: JournalHop, smtpload: Path, tmp_path: Path
) -> None:
    luck = chance(f"{shape} on {'PostgreSQL' if server else 'SQLite'}")
    gateways = _gateways(install, server, hop, shape)
    campaign = Campaign(smtpload, tmp_path, gateways, hop, luck)
    for victim in _in_turn(_victims(gateways, server, hop, luck), ROUNDS, luck):
        campaign.round(victim)
    campaign.settle()
