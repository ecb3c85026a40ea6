"""The effective settings as TOML that `load` reads back, with the secrets masked."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.model import Config


def show(config: Config) -> str:
    """All settings, defaults and presets filled in; "********" for each secret that is set."""
    return "\n".join(_table("", config.model_dump(mode="json"))).lstrip("\n") + "\n"


def _table(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Plain keys first: after a header of an inner table they would belong to it. TOML has no null: None is left out."""
    table = {key: value for key, value in table.items() if value is not None}
    inner = {key: value for key, value in table.items() if _is_inner(value)}
    yield from (f"{key} = {_literal(value)}" for key, value in table.items() if key not in inner)
    for key, value in inner.items():
        name = f"{path}.{key}" if path else key
        header = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
        for each in value if isinstance(value, list) else [value]:
            yield from ("", header, *_table(name, each))


def _is_inner(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _literal(value: Any) -> str:
    """JSON's texts, numbers, truth values and lists are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
