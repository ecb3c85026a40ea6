"""How log lines are written: one line an event, for people or as JSON, Twisted's own among them."""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from gateway import maillog
from gateway.logfile import LogFile

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_is_plain = re.compile(r"[!#-<>-\[\]-~]+").fullmatch  # visible ASCII but for what quoting needs: " = and the backslash


def configure(form: Literal["console", "json"], level: str, write: Callable[[str], object], worker: int = 0) -> None:
    """Send the lines of level and above to `write`, each with its line end, those of a worker with its number."""
    lines = _Lines(write)
    structlog.configure(
        processors=[
            *([partial(_with_worker, worker)] if worker else []),
            _with_level,
            _with_time,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if form == "json" else _line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    maillog.log = structlog.get_logger("gateway").bind()  # made once: one that is not bound yet is bound anew for each line


def writer(file: str) -> Callable[[str], object]:
    """Appends to `file`, or writes to standard output when that is "". Raises OSError."""
    return LogFile(Path(file)).write if file else partial(write_to, sys.__stdout__)


def _with_worker(worker: int, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["worker"] = worker
    return event


def _with_level(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = method
    return event


def _with_time(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return event


def write_to(stream: TextIO | None, text: str) -> None:
    """For the real streams: twistd makes log events of what goes to sys.stdout."""
    if stream is not None:
        stream.write(text)
        stream.flush()


class _Lines:
    """The end of structlog's chain."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def msg(self, line: str) -> None:
        self._write(line + "\n")

    debug = info = warning = error = msg


def _line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Time, level and what happened, then the facts as name=value; whatever they hold, it stays one line."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<7} {maillog.peer_text(str(event.pop('event')), 2000)}"
    facts = [f"{name}={_shown(value)}" for name, value in event.items() if value != ""]
    return f"{head}  {' '.join(facts)}" if facts else head


def _shown(value: object) -> str:
    """A value as one word: what could be taken for something else is quoted, what could break the line is escaped."""
    text = str(value)
    return text if _is_plain(text) else json.dumps(text)


@implementer(ILogObserver)
class TwistedEvents:
    """Passes on what Twisted itself says, from warnings upwards, and every unhandled failure."""

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        failure = event.get("log_failure")
        if failure is not None:
            maillog.bug("in Twisted", failure.value)
        elif level >= LogLevel.warn:
            maillog.from_twisted(maillog.peer_text(formatEvent(event), 2000))
