"""Whose sheets of sign-ins an operator means: an account's, an SMTP user's, a login's that no account has, or a network's."""

import ipaddress

from gateway.accounts.lockout import account_subject, credential_subject, login_subject
from gateway.cli.account_names import find_login
from gateway.cli.listing import cut
from gateway.cli.login_table import login_table
from gateway.cli.settings import Settings
from gateway.cli.waiting import result_of
from gateway.config import Lockout
from gateway.edge.limits import network_of
from gateway.errors import NotFound
from gateway.store import credentials
from gateway.store.engine import opened


def subject_named(settings: Settings, name: str) -> str:
    """The account that signs in as `name`, or else the SMTP user. Raises NotFound, Unavailable."""
    row = find_login(settings, name)
    if row is not None:
        return account_subject(row.id)
    with opened(settings.store_url, write=False) as connection:
        user = credentials.find(connection, name)
    if user is None:
        raise NotFound(f"no account has the login {cut(name, 80)}, and no SMTP user the name")
    return credential_subject(user.id)


def subjects_of(settings: Settings, name: str) -> set[str]:
    """Every sheet that `name` can stand for: a login, an account's id, an SMTP user's name, a login without an account.

    Raises Unavailable.
    """
    with opened(settings.store_url, write=False) as connection:
        user = credentials.find(connection, name)
    with login_table(settings) as table:
        row = result_of(table.find(name))
        found = {account_subject(name), login_subject(table.key(name))}
    found |= {account_subject(row.id)} if row is not None else set()
    return found | {credential_subject(user.id)} if user is not None else found


def networks_named(name: str, rules: Lockout) -> list[str]:
    """`name` as networks of the sheets: an address counts with the configured prefixes. None when it is neither."""
    try:
        if "/" in name:
            return [str(ipaddress.ip_network(name, strict=False))]
        exact = network_of(name, rules.ipv4_prefix, rules.ipv6_prefix)
        return list(dict.fromkeys((exact, network_of(name, rules.trust_ipv4_prefix, rules.trust_ipv6_prefix))))
    except ValueError:
        return []
