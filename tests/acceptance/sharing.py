"""Two gateways on one store and one login table, each with a state directory of its own, as on two machines."""

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import Settings

Pair = tuple[GatewayProcess, GatewayProcess]


def two_that_share_a_store(install: Install, overrides: Settings | None = None) -> Pair:
    """Both serve. The lock file of each state directory tells the other that it lives; the store is in the first's."""
    first = install(overrides, server={"secret": "shared"}).start()
    store = {"url": f"sqlite:///{first.at.state / 'gateway.db'}"}
    accounts = {"url": f"sqlite:///{first.at.accounts.path}"}
    return first, install(overrides, server={"secret": "shared"}, store=store, accounts=accounts).start()
