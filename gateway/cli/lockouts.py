"""`lockouts ...`: who is locked out because of failed sign-ins, and an operator's hand on it."""

import click

from gateway.accounts.lockout import account_id
from gateway.cli.listing import age, counted, json_option, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.cli.subjects import networks_named, subjects_of
from gateway.errors import NotFound
from gateway.store import lockout_listing
from gateway.store.engine import opened
from gateway.store.lockout_listing import ListedLock


@click.group()
def lockouts() -> None:
    """See who is locked out, and let them in again."""


@lockouts.command("list")
@json_option
@pass_settings
def list_lockouts(settings: Settings, as_json: bool) -> None:
    """Show the lockouts that hold now, a line each.

    Scope account_network: this network is locked out of this account. account: every network that the account is not known
    from is. network: this network is locked out of every account that it is not known for. account_trust_network and
    trust_network: the same for a wider network, but for the addresses in it where the account has signed in.
    """
    with opened(settings.store_url, write=False) as connection:
        found = lockout_listing.active(connection)
    rows = [_exact(each) if as_json else _line(each) for each in found]
    print_rows(rows, as_json=as_json, empty="Nobody is locked out.")


@lockouts.command()
@click.argument("name", metavar="ACCOUNT|NETWORK")
@pass_settings
def clear(settings: Settings, name: str) -> None:
    """End the lockouts of an account or a network.

    Its failed sign-ins are forgotten too. ACCOUNT is a login, an account's id, or the name of a domain's SMTP user; NETWORK an
    address or a network, as in 192.0.2.7 or 2001:db8::/64. For an address, the lockouts of the wider network around it end too.
    """
    networks = networks_named(name, settings.own.lockout)
    subjects = subjects_of(settings, name) if not networks else set()
    with opened(settings.store_url, write=True) as connection:
        if networks:
            cleared = lockout_listing.clear_networks(connection, networks)
        else:
            cleared = lockout_listing.clear_subjects(connection, subjects)
    if not cleared.locks and not cleared.failures:
        raise NotFound(f"nothing is locked or counted for {networks[0] if networks else name}")
    click.echo(f"{counted(cleared.locks, 'lockout')} and {counted(cleared.failures, 'failed sign-in')} cleared.")


def _exact(lock: ListedLock) -> dict[str, object]:
    return {
        "scope": lock.scope,
        "account_id": account_id(lock.subject) or None,
        "login": _login(lock),
        "credential": lock.credential or None,
        "network": lock.network or None,
        "age": lock.age,
        "left": lock.left,
    }


def _line(lock: ListedLock) -> dict[str, object]:
    return {
        "scope": lock.scope,
        "account": _account(lock),
        "network": lock.network,
        "age": age(lock.age),
        "left": age(lock.left),
    }


def _account(lock: ListedLock) -> str:
    login = _login(lock)
    if login:
        return f"{login} (no account)"
    return lock.credential or account_id(lock.subject) or lock.subject  # the last: of an SMTP user that was deleted


def _login(lock: ListedLock) -> str | None:
    """What was tried, when no account has it."""
    return lock.subject[2:] if lock.subject.startswith("l:") else None
