"""`domains ...`: which domains are an account's, for it to send as and to have SMTP users in."""

import sys

import click

from gateway.cli.account_names import account_of, known_logins
from gateway.cli.listing import age, counted, json_option, print_rows
from gateway.cli.settings import Settings, pass_settings
from gateway.store import domains as book
from gateway.store.domains import ListedDomain, Taken
from gateway.store.engine import opened


@click.group()
def domains() -> None:
    """Give accounts their domains.

    An account may send as every address of its domains, also as one that is another account's login: give a domain only to
    whom the whole of it belongs. Each domain may have up to five SMTP users of its own: `smtp-gateway credentials`.
    """


@domains.command()
@click.argument("domain")
@click.argument("login")
@pass_settings
def add(settings: Settings, domain: str, login: str) -> None:
    """Make DOMAIN that of the account LOGIN. A domain has one account.

    From then on the account may send as ANY address in DOMAIN, the logins of others included, so give it only to whom the
    whole domain belongs. It counts at once.
    """
    if "@" in domain and "@" not in login:  # the other way round, as easily typed
        domain, login = login, domain
    name = book.domain_named(domain)
    account = account_of(settings, login)
    try:
        with opened(settings.store_url, write=True) as connection:
            is_new = book.add(connection, name, account.id)
    except Taken as taken:
        raise Taken(name, taken.owner, known_logins(settings, [taken.owner]).get(taken.owner) or "") from None
    click.echo(f"{name}: {'belongs to' if is_new else 'belonged already to'} {account.login}.")


@domains.command("list")
@click.option("--account", "login", default="", metavar="LOGIN", help="Those of this account only.")
@json_option
@pass_settings
def list_domains(settings: Settings, login: str, as_json: bool) -> None:
    """Show the domains and whose they are, with how many SMTP users."""
    account_id = account_of(settings, login).id if login else ""
    with opened(settings.store_url, write=False) as connection:
        found = book.listing(connection, account_id)
    logins = known_logins(settings, [each.account_id for each in found])
    row = _exact if as_json else _line
    print_rows([row(each, logins.get(each.account_id)) for each in found], as_json=as_json, empty="No domains.")


@domains.command()
@click.argument("domain")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@pass_settings
def remove(settings: Settings, domain: str, yes: bool) -> None:
    """Take DOMAIN from its account, and delete the domain's SMTP users.

    Asks first when there is a terminal. It counts at once, in open sessions too.
    """
    name = book.domain_named(domain)
    if not yes and sys.stdin.isatty():
        _ask(settings, name)
    with opened(settings.store_url, write=True) as connection:
        deleted = book.remove(connection, name)
    click.echo(f"{name}: removed, and {counted(deleted, 'SMTP user')} with it.")


def _ask(settings: Settings, name: str) -> None:
    """Raises NotFound, and Abort when the answer is no."""
    with opened(settings.store_url, write=False) as connection:
        found = [each for each in book.listing(connection) if each.name == name]
    if not found:
        raise book.no_such(name)
    click.confirm(f"Remove {name} and its {counted(found[0].credentials, 'SMTP user')}?", abort=True, err=True)


def _exact(domain: ListedDomain, login: str | None) -> dict[str, object]:
    return {
        "domain": domain.name,
        "account_id": domain.account_id,
        "login": login,
        "age": domain.age,
        "credentials": domain.credentials,
    }


def _line(domain: ListedDomain, login: str | None) -> dict[str, object]:
    return {
        "domain": domain.name,
        "account": domain.account_id,
        "login": login,
        "added": f"{age(domain.age)} ago",
        "SMTP users": domain.credentials,
    }
