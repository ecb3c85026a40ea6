"""The mistakes in a file, in words: where, what is wrong, what would be right; never the value itself."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.config.files import SECRETS


@dataclass(frozen=True, slots=True)
class Problem:
    """`at` is the key's path, lists counted from 1: "listen.1.port"."""

    at: str
    text: str

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"


_WORDS: Mapping[str, str] = {
    "missing": "is missing; write it",
    "string_type": "is not text; put it in quotes",
    "string_unicode": "is not UTF-8 text; write it in UTF-8",
    "path_type": "is not a path; put it in quotes",
    "literal_error": "is none of the values it can have; write {expected}",
    "greater_than": "is too small; it must be more than {gt:g}",
    "greater_than_equal": "is too small; it must be at least {ge:g}",
    "less_than_equal": "is too large; it can be {le:g} at most",
    "model_type": "is not a table; write [{at}]",
    "tuple_type": 'is not a list; put it in brackets, ["..."]',
}


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """Without those that only follow from an earlier one, at the same key or under it."""
    kept: list[Problem] = []
    for problem in problems:
        if not any(f"{problem.at}.".startswith(f"{earlier.at}.") for earlier in kept):
            kept.append(problem)
    return kept


def of_validation(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings in our words."""
    found = error.errors(include_input=False, include_url=False)
    return [Problem(_at(each["loc"]), _text(each["type"], each["loc"], each.get("ctx", {}), root)) for each in found]


def _at(loc: Sequence[int | str]) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)


def _text(kind: str, loc: Sequence[int | str], context: Mapping[str, Any], root: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return f"is not a setting; {_hint(str(loc[-1]), loc[:-1], root)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "model_type" and isinstance(loc[-1], int):
        return f"is not a table; write [[{_at(loc[:-1])}]] with double brackets"
    if kind == "tuple_type" and _model_at(loc, root) is not None:
        return f"is not a list of tables; write [[{_at(loc)}]] with double brackets"
    return _WORDS.get(kind, "has the wrong type").format(**context, at=_at(loc))


def _hint(key: str, parents: Sequence[int | str], root: type[BaseModel]) -> str:
    names = _names_at(parents, root)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    elsewhere = [f"{section}.{key}" for section in root.model_fields if key in _names_at((section,), root)]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"there are {', '.join(names)}"


def _names_at(loc: Sequence[int | str], root: type[BaseModel]) -> list[str]:
    """The keys that the table at `loc` can have."""
    model = _model_at(loc, root)
    files = [f"{name}_file" for name in SECRETS.get(_at(loc), ())]
    return [*model.model_fields, *files] if model else []


def _model_at(loc: Sequence[int | str], root: type[BaseModel]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    for part in loc:
        if isinstance(part, str) and model is not None:
            annotation: Any = model.model_fields[part].annotation
            candidates = (annotation, *get_args(annotation))
            model = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
    return model
