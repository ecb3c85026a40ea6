"""Some logins looked up on one connection: each gets the rows that are really its own.

One query serves them all. When it fails for one login or one row alone (a character that the table cannot hold, a value that
the driver cannot read), each is asked by itself, so that nobody's sign-in depends on what a neighbour typed.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, String, bindparam, exc, text

from gateway import maillog
from gateway.accounts.model import LoginRow
from gateway.config import Accounts
from gateway.errors import Unavailable
from gateway.store.failures import is_about_a_value, is_no_such_text, unavailable
from gateway.store.login_table import LoginTable

Found = list[LoginRow] | Unavailable

NOBODY = "nobody@gateway.invalid"  # a login that no account has (RFC 2606 section 2), to try the look-up with

_FOLDS = "gateway.folds"  # in a connection's memory: found out once for each, so a change of the column is seen in time

# "Folds": the column compares without case. to_jsonb: before PostgreSQL 12 there is no such column, and none is needed.
_POSTGRESQL = """
    SELECT coalesce(b.typname, t.typname) = 'citext' OR coalesce(to_jsonb(c) ->> 'collisdeterministic' = 'false', false)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = pg_catalog.to_regclass(:quoted) AND a.attname = :login"""
_MYSQL = """
    SELECT coalesce(collation_name LIKE '%\\_ci', 0) FROM information_schema.columns
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :name AND column_name = :login"""
_QUESTIONS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}


class Lookup:
    """The login table that `accounts` describes, in the `dialect` of SQLAlchemy's naming."""

    def __init__(self, accounts: Accounts, dialect: str) -> None:
        self.table = LoginTable(accounts, dialect)
        self._login = accounts.columns.login
        question = _QUESTIONS.get(dialect)
        strings = [bindparam(name, type_=String()) for name in ("quoted", "login", "schema", "name")]
        asked = [one for one in strings if question and f":{one.key}" in question]
        self._question = text(question).bindparams(*asked) if question else None

    def find(self, connection: Connection, logins: Sequence[str]) -> dict[str, Found]:
        """For each of `logins`, as typed: its rows, or why they cannot be read. Raises what the database raises for all."""
        try:
            query = self.table.by_login(folds=self.folds(connection))
            rows = [self.table.read(row) for row in connection.execute(query, {"logins": list(logins)})]
        except (exc.DBAPIError, UnicodeError) as error:
            return self._one_by_one(connection, logins, error)
        own: dict[str, list[LoginRow]] = {}
        for row in rows:
            own.setdefault(self.table.key(row.login), []).append(row)
        return {login: own.get(self.table.key(login), []) for login in logins}

    def folds(self, connection: Connection) -> bool:
        """Whether the login column compares without case by itself; what is usual where the database does not say."""
        if _FOLDS not in connection.info:
            connection.info[_FOLDS] = self._asked(connection)
        return bool(connection.info[_FOLDS])

    def _asked(self, connection: Connection) -> bool:
        usual = connection.dialect.name in ("mysql", "mariadb")
        if self._question is None:
            return usual
        table = self.table.table
        names: dict[str, Any] = {"login": self._login, "schema": table.schema, "name": table.name}
        names["quoted"] = connection.dialect.identifier_preparer.format_table(table)
        wanted = {name: names[name] for name in self._question.compile().params}
        answer = connection.execute(self._question, wanted).scalar()
        return usual if answer is None else bool(answer)

    def _one_by_one(self, connection: Connection, logins: Sequence[str], error: Exception) -> dict[str, Found]:
        if not is_about_a_value(error):
            raise error
        if isinstance(error, UnicodeError):
            connection.invalidate()  # the driver may have stopped in the middle of an answer
        if len(logins) == 1:
            return {logins[0]: [] if is_no_such_text(error) else unavailable(error)}
        return {login: found for one in logins for login, found in self.find(connection, [one]).items()}


def only(found: Found) -> LoginRow | None:
    """The one row of a login. Raises Unavailable: for two, for one without an id, and what `found` is."""
    if isinstance(found, Unavailable):
        raise Unavailable(*found.args)  # another instance: a shared one would gather all its callers' tracebacks
    if len(found) > 1:
        maillog.two_accounts([row.id for row in found])
        raise Unavailable("two accounts differ in letter case only")
    if found and not found[0].id:
        raise Unavailable("the account's row has no id")
    return found[0] if found else None
