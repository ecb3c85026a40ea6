"""`credentials ...`: the SMTP users of domains, each with a name and a password of its own."""

import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, TypeVar

import click

from gateway import address
from gateway.accounts.credentials import check_chosen, new_password, stored_chosen, stored_random
from gateway.cli.account_names import find_login, known_logins, names_taken
from gateway.cli.accounts import asked_password, password_stdin
from gateway.cli.listing import age, json_option, print_json, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.errors import ConfigError, Conflict, Unavailable
from gateway.store import credentials as book
from gateway.store.credentials import ListedCredential
from gateway.store.engine import opened

F = TypeVar("F", bound=Callable[..., Any])


def _password_options(function: F) -> F:
    ask = click.option("--ask", is_flag=True, help="Type the password instead of having one made.")
    as_json = click.option("--json", "as_json", is_flag=True, help='Print {"name", "password"}; a chosen password is null.')
    return password_stdin(ask(as_json(function)))


@click.group()
def credentials() -> None:
    """Look after the SMTP users of domains.

    Each has a name in its domain, as in shop@example.com, and a password of its own. It sends as its domain and nothing
    else, and what it sends counts for the domain's account. A domain may have five.
    """


@credentials.command()
@click.argument("name")
@_password_options
@pass_settings
def create(settings: Settings, name: str, password_stdin: bool, ask: bool, as_json: bool) -> None:
    """Make the SMTP user NAME, as in shop@example.com.

    Without an option a password is made and printed, this once. The domain must be there: `smtp-gateway domains add`.
    """
    user = book.credential_named(name)
    _refuse_login(settings, name, user, "choose another name")
    password, stored = _password(from_stdin=password_stdin, ask=ask)
    with opened(settings.store_url, write=True) as connection:
        made = book.create(connection, user, stored)
    _print(made.name, "created; it can sign in from now on", password, as_json=as_json)


@credentials.command("list")
@click.argument("domain", default="")
@json_option
@pass_settings
def list_credentials(settings: Settings, domain: str, as_json: bool) -> None:
    """Show the SMTP users of DOMAIN, or of all domains.

    The server writes down every 5 seconds when each was last used. "login wins" is noted beside one whose name is a login of
    your table: nobody can sign in as that one. The id is what the log has as credential.
    """
    with opened(settings.store_url, write=False) as connection:
        found = book.listing(connection, domain)
    logins = known_logins(settings, [each.account_id for each in found])
    taken = names_taken(settings, [each.name for each in found]) if found else ()
    row = _exact if as_json else _line
    rows = [row(each, logins.get(each.account_id), taken) for each in found]
    print_rows(rows, as_json=as_json, empty="No SMTP users.")


@credentials.command()
@click.argument("name")
@_password_options
@pass_settings
def reset(settings: Settings, name: str, password_stdin: bool, ask: bool, as_json: bool) -> None:
    """Give the SMTP user NAME a new password. It counts at once, for open sessions too.

    Without an option a password is made and printed, this once.
    """
    parsed = book.credential_named(name)
    with suppress(Unavailable, ConfigError):  # a password that got known must be changed while the login table is away, too
        _refuse_login(settings, name, parsed, "no SMTP user can sign in with that name")
    user = parsed.key
    password, stored = _password(from_stdin=password_stdin, ask=ask)
    with opened(settings.store_url, write=True) as connection:
        book.reset(connection, user, stored)
    _print(user, "the new password counts from now on", password, as_json=as_json)


@credentials.command()
@click.argument("name")
@pass_settings
def delete(settings: Settings, name: str) -> None:
    """Delete the SMTP user NAME, and end its sessions."""
    user = book.credential_named(name).key
    with opened(settings.store_url, write=True) as connection:
        book.delete(connection, user)
    click.echo(f"{user}: deleted.")


def _refuse_login(settings: Settings, typed: str, user: address.Address, so: str) -> None:
    """A login is looked for first at every sign-in, so nobody could ever sign in as the SMTP user. Raises Conflict."""
    for name in {typed, user.key}:
        row = find_login(settings, name)
        if row is not None:
            raise Conflict(f"{name}: is the login of account {row.id} already; {so}")


def _password(*, from_stdin: bool, ask: bool) -> tuple[str | None, str]:
    """The password if it was made here, to be shown once, and its stored form. Raises UsageError, Conflict."""
    if from_stdin and ask:
        raise click.UsageError("Give one of --password-stdin and --ask.")
    if not (from_stdin or ask):
        made = new_password(secrets.token_bytes)
        return made, stored_random(made)
    chosen = asked_password(from_stdin=from_stdin, twice=True, check=check_chosen)
    return None, stored_chosen(chosen)


def _print(name: str, done: str, password: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "password": password})
        return
    click.echo(f"{name}: {done}.")
    if password is not None:
        click.echo(f"Password: {password}")


def _exact(credential: ListedCredential, login: str | None, taken: Collection[str] | None) -> dict[str, object]:
    return {
        "id": credential.id,
        "name": credential.name,
        "domain": credential.domain,
        "account_id": credential.account_id,
        "login": login,
        "password_age": credential.age,
        "last_used": credential.last_used,
        "last_network": credential.last_network or None,
        "shadowed": credential.name in taken if taken is not None else None,
    }


def _line(credential: ListedCredential, login: str | None, taken: Collection[str] | None) -> dict[str, object]:
    used = credential.last_used
    note = {"note": "login wins" if credential.name in taken else ""} if taken else {}
    return {
        "id": credential.id,
        "name": credential.name,
        "account": credential.account_id,
        "login": login,
        "password_of": f"{age(credential.age)} ago",
        "last_used": f"{age(max(0.0, used))} ago" if used is not None else "never",
        "from": credential.last_network,
        **note,
    }
