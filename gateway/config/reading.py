"""From the file to a `Config`, or to all of its mistakes at once."""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.checks import between_keys
from gateway.config.model import Config
from gateway.config.problems import Problem, distinct, of_validation
from gateway.config.references import Environment, read_secret_files
from gateway.errors import ConfigError

_TABLES = frozenset(Config.model_fields)
_LISTENERS = ({"port": 2587, "security": "starttls"}, {"port": 2465, "security": "tls"})


def load(path: Path, environ: Mapping[str, str], *, only: Collection[str] = _TABLES) -> Config:
    """Read and check the whole of `path`, with `${NAME}` taken from `environ`.

    Raises ConfigError with a line for every mistake, "listen.2.port: what is wrong; what would be right": lists count
    from 1. No line repeats a value that was written. Tables not in `only` are passed over, with the secrets they name,
    and have their defaults: a command that needs the store alone works without the passwords of others.
    """
    file = path.absolute()
    problems: list[Problem] = []
    read = {name: value for name, value in _parsed(file).items() if name in only or name not in _TABLES}
    document = Environment(environ, problems).filled(read, "")
    document = _completed(read_secret_files(document, file.parent, problems))
    context = {"path": file}
    config = _validated(document, context, problems)
    problems += between_keys(document)
    if problems or config is None:
        raise ConfigError([str(problem) for problem in distinct(problems)])
    return config


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        problem = Problem(str(file), "no such file; run `smtp-gateway init` to write one")
    except OSError as error:
        problem = Problem(str(file), f"cannot be read ({error.strerror}); it must be a file that this user can read")
    except UnicodeDecodeError as error:
        problem = Problem(str(file), f"is not UTF-8 text at octet {error.start + 1}; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problem = Problem(str(file), _not_toml(str(error)))
    raise ConfigError([str(problem)])


def _not_toml(said: str) -> str:
    """tomllib's words, but for what a second copy of a table gives: 'Cannot declare (\'accounts\',) twice (at line 9, ...)'."""
    where = re.search(r"line \d+", said)
    twice = re.match(r"Cannot declare \((.+)\) twice", said)
    if twice and where:
        name = ".".join(re.findall(r"'([^']*)'", twice[1]))
        return f"[{name}] stands twice, again at {where[0]}; make one table of the two"
    if said.startswith("Cannot overwrite a value") and where:
        return f"a setting stands twice in its table, again at {where[0]}; keep one of them"
    return f'is not TOML: {said}; a setting is written name = "text", name = 1 or name = true'


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """With the tables that were left out."""
    missing: dict[str, Any] = {name: {} for name in Config.model_fields}
    return {**missing, "listen": [dict(each) for each in _LISTENERS], **document}


def _validated(document: dict[str, Any], context: Mapping[str, Any], problems: list[Problem]) -> Config | None:
    try:
        return Config.model_validate(document, context=dict(context))
    except ValidationError as error:
        problems += of_validation(error, Config)
        return None
