"""One function for each kind of line an operator reads about mail: what happened, with which queue id.

No line has a password, a hash, an AUTH line or a body. What a peer said is cut and escaped (`peer_text`), so
that nobody can write a log line of their own (chasquid 1.18.0 fixed that).
"""

from typing import Any

import structlog

log: Any = structlog.get_logger("gateway")


def peer_text(text: str | bytes, limit: int = 200) -> str:
    """Text from outside as one printable line of at most `limit` characters."""
    shown = repr(text if isinstance(text, str) else text.decode("utf-8", "backslashreplace"))[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
