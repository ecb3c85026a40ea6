"""What a row is given: the scene, and how much time there is."""

from dataclasses import dataclass
from typing import TypeVar

from benchmarks.scene import Scene

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    scene: Scene
    quick: bool

    def pick(self, quick: T, full: T) -> T:
        """How much of it there is in a quick run, and in a full one."""
        return quick if self.quick else full
