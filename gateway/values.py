"""Values: dataclasses with slots that nobody may change. The type checker sees to that, and nothing at run time.

A frozen dataclass pays for its guard at each construction, four times what the fields themselves cost; a message makes some
thirty values on its way.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`: compared and hashed by its fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
