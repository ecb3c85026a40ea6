"""What the rows of `process` are called: a gateway by its state directory, its workers by their number in it."""

import re
from dataclasses import dataclass

_WORKER = re.compile(r"worker ([0-9]+) of (.+)", re.DOTALL)  # no state directory begins so: it is an absolute path


@dataclass(frozen=True, slots=True)
class ProcessName:
    """`gateway` is the same for all processes of one; `worker` is 0 for the one that starts the others, or serves alone."""

    gateway: str
    worker: int = 0

    def __str__(self) -> str:
        return f"worker {self.worker} of {self.gateway}" if self.worker else self.gateway

    def covers(self, other: "ProcessName") -> bool:
        """Whether `other` is over when we begin: it was us, or one of our workers, who all begin after us."""
        return other.gateway == self.gateway and self.worker in (0, other.worker)


def read(row: str) -> ProcessName:
    """The name in a row."""
    found = _WORKER.fullmatch(row)
    return ProcessName(found[2], int(found[1])) if found else ProcessName(row)
