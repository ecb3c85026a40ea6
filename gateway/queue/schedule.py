"""When a recipient is tried again, when it is given up, when its sender is warned: pure arithmetic on seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """`retry`: the pauses after the first, second ... attempt, the last one repeats; `give_up` and `delay_warning`: ages."""

    retry: tuple[float, ...]
    give_up: float
    delay_warning: float  # 0: no warning

    def next_attempt(self, attempts_done: int, age: float) -> float | None:
        """Seconds until the next attempt of a message accepted `age` seconds ago; None when its time is over.

        The last attempt is at `give_up` itself, so that a long pause does not cut the promised time short.
        """
        if age >= self.give_up:
            return None
        pause = self.retry[min(max(attempts_done, 1), len(self.retry)) - 1]
        return min(pause, self.give_up - age)

    def delay_due(self, age: float, warned: bool) -> bool:
        """Whether a sender who has not been told of the delay should be told now."""
        return self.delay_warning > 0 and not warned and age >= self.delay_warning
