"""Settings whose feature is not built yet: refused where they would silently do nothing.

A later version deletes the rows of what it builds. A value that equals the default, or switches the feature off, is accepted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.config.checks import Document, tables_at
from gateway.config.problems import Problem
from gateway.config.sections import Listen, Server

_TEXT = "is not available in this version yet; leave it out"


def refusals(document: Document, context: Mapping[str, Any]) -> Iterator[Problem]:
    """A problem for each setting that asks for what is not there."""
    for path, model, keys in _REFUSED:
        for at, table in tables_at(document, path):
            yield from (
                Problem(f"{at}.{key}", _TEXT) for key in keys if key in table and _asks(model, key, table[key], context)
            )


def _asks(model: type[BaseModel], key: str, value: object, context: Mapping[str, Any]) -> bool:
    """Whether `value` is neither off (0, empty) nor the default; a wrong value is somebody else's to report."""
    try:
        read = getattr(model.model_validate({key: value}, context=context), key)
    except ValidationError:
        return False
    return bool(read) and read != model.model_fields[key].get_default()


_REFUSED: tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...] = (
    ("server", Server, ("workers",)),
    ("listen", Listen, ("proxy_protocol_from",)),
)
