"""What `doctor` says of the table of further sender addresses."""

from collections.abc import Iterator

import sqlalchemy

from gateway.config import Config
from gateway.errors import ConfigError, Unavailable
from gateway.store.engine import accounts_engine
from gateway.store.failures import translated
from gateway.store.inspect import Finding

_KEY = "senders.aliases"
_COLUMNS = ("account_id", "address")


def inspect(config: Config) -> Iterator[Finding]:
    """Nothing when there is no such table in the settings, or no database: that is a finding of its own already."""
    name = config.senders.aliases
    if not name:
        return
    try:
        columns = _columns_of(config.accounts.url.get_secret_value(), name)
    except (ConfigError, Unavailable):
        return
    if columns is None:
        yield Finding("problem", _KEY, f'no table or view "{name}" in the database of accounts.url; make it, or leave this out')
        return
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        yield Finding("problem", _KEY, f'"{name}" has no column {" and no column ".join(missing)}; a view can name them so')
    else:
        yield Finding("ok", _KEY, f'"{name}" has the columns it needs')


def _columns_of(url: str, name: str) -> set[str] | None:
    """None when there is no such table or view. Raises ConfigError, Unavailable."""
    schema, _, table = name.rpartition(".")
    engine = accounts_engine(url, connections=1)
    try:
        with translated(), engine.connect() as connection:
            inspector = sqlalchemy.inspect(connection)
            if table not in (*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)):
                return None
            return {str(column["name"]) for column in inspector.get_columns(table, schema or None)}
    finally:
        engine.dispose()
