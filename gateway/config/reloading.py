"""What a running gateway takes of its file when that is read again: all but what was bound or opened at the start."""

from gateway.config.model import Config
from gateway.config.sections import Server

_TABLES = ("listen", "accounts", "store", "http")
_SERVER = [key for key in Server.model_fields if key != "hide_client"]


def reloaded(running: Config, new: Config) -> tuple[Config, list[str]]:
    """The settings in effect from now on, and the keys of `new` that wait for a restart, "table" or "table.key" each.

    A process that starts later serves on the same sockets and stores as the others, so it must not read them from the file.
    """
    waiting = [table for table in _TABLES if getattr(running, table) != getattr(new, table)]
    waiting += [f"server.{key}" for key in _SERVER if getattr(running.server, key) != getattr(new.server, key)]
    waiting += ["senders.aliases"] if running.senders.aliases != new.senders.aliases else []
    kept = {table: getattr(running, table) for table in _TABLES}
    server = running.server.model_copy(update={"hide_client": new.server.hide_client})
    senders = new.senders.model_copy(update={"aliases": running.senders.aliases})
    return new.model_copy(update={**kept, "server": server, "senders": senders}), waiting
