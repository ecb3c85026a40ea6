"""The primary of a synchronous pair of PostgreSQL servers is killed under load, and the stand-by promoted: nothing is lost.

Also when the stand-by had been cut off for a while: what only the primary has got no 250.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.campaign import Campaign
from tests.acceptance.conftest import Install
from tests.acceptance.rounds import chance
from tests.acceptance.shared_store import SharedStore
from tests.acceptance.smtpload import for_load, smtpload
from tests.acceptance.victims import PATIENCE, JournalHop, hop
from tests.acceptance.waiting import until
from tests.servers.databases import Postgresql, Standby

__all__ = ["hop", "smtpload"]


class Primary:
    """Killed, it does not come back: the stand-by is promoted instead. `cut_off`: the stand-by has stood still before."""

    who = "store"

    def __init__(self, primary: Postgresql, standby: Standby, *, cut_off: bool) -> None:
        self._primary, self._standby, self._cut_off = primary, standby, cut_off

    def kill(self) -> None:
        if self._cut_off:
            self._standby.process.freeze()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            until(lambda: self._primary.admin(waiting), "a commit waits for the stand-by", PATIENCE)
        self._primary.process.kill()

    def revive(self) -> None:
        if self._cut_off:
            self._standby.process.thaw()
        self._standby.promote()


@pytest.fixture
def primary() -> Iterator[Postgresql]:
    server = Postgresql()
    yield server
    server.process.close()


@pytest.fixture
def standby(primary: Postgresql) -> Iterator[Standby]:
    server = Standby(primary)
    yield server
    server.process.close()


def _either(primary: Postgresql, standby: Standby, url: str) -> str:
    """The store at `url` of `primary`, or of whichever of the two is the primary."""
    _, user, name = re.split(r"//|@.*/", url)
    hosts = "&".join(f"host=127.0.0.1:{server.process.port}" for server in (primary, standby))
    return f"postgresql://{user}@/{name}?{hosts}"


@pytest.mark.parametrize("cut_off", [False, True], ids=["in step", "cut off"])
def test_the_gateways_follow_and_nothing_is_lost(
    *, cut_off: bool, primary: Postgresql, standby: Standby, install: Install, smtpload: Path, hop: JournalHop, tmp_path: Path
) -> None:
    store = SharedStore(primary, install)
    url = _either(primary, standby, store.database.url)
    gateways = [store.machine(**for_load(hop.url, f"gateway{number}.example"), store={"url": url}) for number in range(2)]
    for gateway in gateways:
        gateway.start()
    campaign = Campaign(smtpload, tmp_path, gateways, hop, chance("stand-by"))
    campaign.round(Primary(primary, standby, cut_off=cut_off))
    for gateway in gateways:
        until(lambda g=gateway: g.get("/readyz")[0] == 200, gateway.story)  # type: ignore[misc]
    campaign.settle()
