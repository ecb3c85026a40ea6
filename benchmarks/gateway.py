"""Our side: the installed gateway, run by twistd, with settings as an operator would have them and limits out of the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme

from benchmarks.failure import BenchmarkFailed
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import Installation, Settings, merged, run_tool, toml

_ENOUGH = 30_000  # connections


def migrated_store(folder: Path) -> Path:
    """An empty store, to be copied."""
    (folder / "var").mkdir(parents=True)
    (folder / "gateway.toml").write_text("".join(toml({"listen": [{"port": 0}]})), "utf-8")
    run_tool(folder, "store", "migrate").check_returncode()
    return folder / "var" / "gateway.db"


class Gateway:
    """`settings` are laid over what every row has."""

    name = "gateway"

    def __init__(self, folder: Path, ca: trustme.CA, template: Path, settings: Settings) -> None:
        self.at = Installation(folder, ca, template, merged(_DEFAULTS, settings))
        self.process = GatewayProcess(self.at)

    def migrate(self) -> None:
        """Make the tables of a store that is not the usual one."""
        run_tool(self.at.folder, "store", "migrate").check_returncode()

    def __enter__(self) -> "Gateway":
        try:
            self.process.start()
        except BaseException:
            self.process.clean_up()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.process.clean_up()

    @property
    def port(self) -> int:
        return self.process.starttls

    @property
    def roots(self) -> Sequence[int]:
        return [self.process.process.pid]

    @property
    def hashes(self) -> int:
        """Password hashes so far."""
        return int(self.process.figure("password_hash_seconds_count"))

    def delivered(self) -> int:
        delivered = self.process.figure("deliveries_total", result="delivered")
        other = self.process.figure("deliveries_total") - delivered
        if other > 0:
            raise BenchmarkFailed(f"{other:g} attempts at delivery did not succeed\n{self.story()}")
        return int(delivered)

    def story(self) -> str:
        return self.process.story()


_DEFAULTS: dict[str, Any] = {
    "listen": [{"port": 0, "security": "starttls"}],
    "accounts": {"columns": {"max_message_size": ""}},
    "lockout": {"delay": "300ms"},
    "limits": {
        "message_size": "40MiB",
        "daily_recipients": 0,
        "connections": _ENOUGH,
        "connections_per_network": _ENOUGH,
        "new_connections_per_network": 0,
        "messages_per_session": _ENOUGH,
    },
    "relay": {"retry": ["1m", "5m", "15m"]},
}
