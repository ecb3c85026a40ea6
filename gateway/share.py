"""Which of how many serving processes of this machine one is, and its part of what they share out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """Process `number` of `of`, counted from 1; a parent, which does not serve, is number 0."""

    number: int = 1
    of: int = 1

    def part(self, whole: int) -> int:
        """This one's part of `whole`: at least 1, and the parts of all are `whole` together when it is enough for all."""
        return max(1, whole // self.of + (self.number <= whole % self.of))

    @property
    def worker(self) -> int:
        """The number that log lines and leases bear; 0 for a process that serves alone."""
        return self.number if self.of > 1 else 0
