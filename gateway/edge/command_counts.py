"""Counts the replies to commands and the time that each decision took, under labels that are looked up once."""

from typing import Any

from gateway.metrics import Metrics
from gateway.reply import Reply


class CommandCounts:
    """Of all sessions. A verb is one of `gateway.smtp.commands.RULES`, or "UNKNOWN"."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._replies: dict[tuple[str, int], Any] = {}
        self._seconds: dict[str, Any] = {}

    def reply(self, verb: str, said: Reply) -> None:
        label = verb, said.code // 100
        if label not in self._replies:
            self._replies[label] = self._metrics.commands_total.labels(verb, f"{label[1]}xx")
        self._replies[label].inc()

    def decided(self, verb: str, seconds: float) -> None:
        if verb not in self._seconds:
            self._seconds[verb] = self._metrics.command_seconds.labels(verb)
        self._seconds[verb].observe(seconds)
