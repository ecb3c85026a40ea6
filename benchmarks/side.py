"""What the benchmark needs to know of a mail server that it measures."""

from collections.abc import Sequence
from typing import Protocol


class Side(Protocol):
    """One of the two."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int:
        """Speaks SMTP with STARTTLS."""
        ...

    @property
    def roots(self) -> Sequence[int]:
        """The process ids that all of its processes descend from."""
        ...

    def delivered(self) -> int:
        """Recipients that it says it has delivered, since its start. Raises BenchmarkFailed when any failed or was deferred."""
        ...

    def story(self) -> str:
        """The end of its log, for whoever has to find out why a run failed."""
        ...
