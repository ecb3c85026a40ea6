"""`doctor`: tries everything the server will need, and says in a line each what is wrong and what would be right."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click

from gateway.cli import aliases, certificates, hops, machine
from gateway.cli.listing import counted, json_option, print_json
from gateway.cli.settings import Settings, pass_settings
from gateway.store.inspect import Finding, inspect_accounts


@click.command()
@json_option
@pass_settings
@click.pass_context
def doctor(context: click.Context, settings: Settings, as_json: bool) -> None:
    """Try everything that the server needs.

    Login table, certificate, ports, store, disk and next hops. Prints a line for each finding, which begins with ok, warning
    or problem. Exit status 1 when there is a problem. Nothing is changed and no mail is sent, so it can be run beside the
    server at any time.
    """
    found = []
    for finding in _findings(settings):
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.level:<7} {finding.key}: {finding.text}")
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        count = Counter(finding.level for finding in found)
        told = ", ".join(counted(count[level], level) for level in ("problem", "warning"))
        click.echo(f"\n{counted(len(found), 'finding')}: {told}.")
    context.exit(1 if any(finding.level == "problem" for finding in found) else 0)


def _findings(settings: Settings) -> Iterator[Finding]:
    """In the order that somebody would put things right."""
    config = settings.config
    for line in config.warnings:
        yield Finding("warning", *line.split(": ", 1))
    yield from machine.state(config)
    yield from machine.store(settings.store_url)
    yield from inspect_accounts(config.accounts)
    yield from aliases.inspect(config)
    yield from certificates.inspect(config)
    yield from machine.ports(config)
    for number, hop in enumerate(config.relay.next_hop, 1):
        yield from hops.inspect(f"relay.next_hop.{number}", hop, config.server.hostname)
