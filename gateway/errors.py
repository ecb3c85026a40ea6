"""The exceptions that cross a package border, sorted by what the caller must do.

`Refused`: say the reply to the peer. `Unavailable`: something we depend on is away, answer 4xx and try
later. `ConfigError`: stop at start. Anything else is our own bug: log it whole, answer a plain 451.
"""

from collections.abc import Sequence

from gateway.reply import Reply


class Refused(Exception):
    """The peer's request is refused with `reply`, which is safe to send as it is."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.reply = reply


class Unavailable(Exception):
    """A database, disk or network service cannot answer now; `str()` is for the log, never for a peer."""


class NoThreads(Exception):
    """The system allows this process no further thread, so it can do nothing; `str()` says so in one line, with the cure."""


class StorageFull(Unavailable):
    """The disk under the store or the spool has no room (ENOSPC, EDQUOT, SQLITE_FULL): answer 452."""


class Damaged(Unavailable):
    """What was kept on disk is not what was put there; `str()` says so without a peer's words."""


class NotFound(Exception):
    """What an operator named does not exist; `str()` says so in one line."""


class Conflict(Exception):
    """What an operator wants cannot be, as it is named or beside what there is; `str()` says so in one line."""


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has a line for each mistake: "key.path: what and what instead"."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
