"""`queue ...`: what waits for delivery, what became of it, and an operator's hand on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import click
from sqlalchemy import Connection

from gateway.cli.account_names import account_named
from gateway.cli.listing import age, counted, json_option, print_json, print_rows, print_table
from gateway.cli.settings import Settings, pass_settings
from gateway.config.units import parse_duration
from gateway.errors import NotFound
from gateway.queue.model import State
from gateway.queue.spool import unlink
from gateway.store import chunks, operator
from gateway.store.engine import opened
from gateway.store.operator import ListedRecipient, ShownMessage

F = TypeVar("F", bound=Callable[..., Any])
_ALL = 1_000_000
_STEP = 2000  # recipients in one transaction


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _filters(function: F) -> F:
    for option in (
        click.option(
            "--older-than", callback=_seconds, default="0s", metavar="TIME", help='Accepted longer ago than "2h", "3d".'
        ),
        click.option("--state", type=click.Choice([state.value for state in State]), default=None, help="In this state only."),
        click.option("--domain", default="", metavar="DOMAIN", help="Recipients in this domain only."),
        click.option(
            "--account", default="", metavar="LOGIN", help="Sent by this account only: its login or id, or an SMTP user of it."
        ),
    ):
        function = option(function)
    return function


@click.group()
def queue() -> None:
    """See what waits for delivery, hold it, or take it out."""


@queue.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, _ALL), default=100, show_default=True, help="At most so many recipients.")
@json_option
@pass_settings
def list_queue(
    settings: Settings, account: str, domain: str, state: str | None, older_than: float, limit: int, as_json: bool
) -> None:
    """Show recipients, a line each, the oldest first.

    Without --state, those that still wait.
    """
    account_id = account_named(settings, account).id if account else ""
    with opened(settings.store_url, write=False) as connection:
        found = operator.list_recipients(
            connection, state=state or "", account=account_id, domain=domain, older_than=older_than, limit=limit
        )
    rows = [asdict(each) if as_json else _line(each) for each in found]
    print_rows(rows, as_json=as_json, empty="Nothing waits." if state is None else f"No recipient is {state}.")


@queue.command()
@click.argument("id_", metavar="ID")
@json_option
@pass_settings
def show(settings: Settings, id_: str, as_json: bool) -> None:
    """Show a message: its recipients, every attempt, its header.

    ID is a queue id, or the number of one recipient.
    """
    with opened(settings.store_url, write=False) as connection:
        message = operator.show(connection, id_)
    if as_json:
        print_json({**asdict(message), "header": message.header.decode("utf-8", "backslashreplace")})
    else:
        _print_message(message)


@queue.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that wait for their next attempt.")
@click.option("--domain", default="", metavar="DOMAIN", help="With --all: recipients in this domain only.")
@pass_settings
def retry(settings: Settings, ids: tuple[str, ...], everything: bool, domain: str) -> None:
    """Try messages again now. An ID is a queue id, or the number of one recipient.

    What is held stays held: `queue release` lets it go.
    """
    if bool(ids) == everything or (domain and not everything):
        raise click.UsageError("Give the ids of messages, or --all.")
    if everything:
        tried = _retry_all(settings, domain)
    else:
        with _all_or_none(settings, ids, "will be tried") as connection:
            tried = sum(operator.retry(connection, each) for each in ids)
    click.echo(f"{counted(tried, 'recipient')} will be tried now.")


def _retry_all(settings: Settings, domain: str) -> int:
    """In steps, each a transaction of its own: a gateway that accepts mail meanwhile must not wait for a million rows."""
    count = last = 0
    while True:
        with opened(settings.store_url, write=True) as connection:
            tried = operator.retry_all(connection, domain=domain, after=last, limit=_STEP)
        if not tried:
            return count
        count, last = count + len(tried), tried[-1]


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_settings
def hold(settings: Settings, ids: tuple[str, ...]) -> None:
    """Keep messages in the queue until they are released or deleted.

    An ID is a queue id, or the number of one recipient. What is being delivered at this moment may still arrive.
    Held mail is never given up, and its sender gets no warning of a delay.
    """
    with _all_or_none(settings, ids, "was held") as connection:
        held = sum(operator.hold(connection, each) for each in ids)
    click.echo(f"{counted(held, 'recipient')} held.")


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_settings
def release(settings: Settings, ids: tuple[str, ...]) -> None:
    """Send messages now that are held. An ID is a queue id, or the number of one recipient.

    What is held because its account is disabled is sent all the same; without this it waits until the account is enabled.
    What an operator held goes on as if it had not been, so it is held again if its account is disabled by now.
    Mail older than [relay] give_up is tried once.
    """
    with _all_or_none(settings, ids, "was released") as connection:
        released = sum(operator.release(connection, each) for each in ids)
    click.echo(f"{counted(released, 'recipient')} released.")


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_settings
def delete(settings: Settings, ids: tuple[str, ...]) -> None:
    """Take messages out of the queue, without a report to their senders.

    An ID is a queue id, or the number of one recipient. What was delivered stays delivered.
    """
    with _all_or_none(settings, ids, "was deleted") as connection:
        deletions = [operator.delete(connection, each) for each in ids]
        for body in (body for each in deletions for body in each.bodies):
            chunks.remove(connection, body.name)
    for body in (body for each in deletions for body in each.bodies):
        unlink(settings.spool, body.name)  # after the commit: a file without a row is swept, a row without a file is lost mail
    click.echo(f"{counted(sum(each.recipients for each in deletions), 'recipient')} deleted.")


@contextmanager
def _all_or_none(settings: Settings, ids: Sequence[str], done: str) -> Iterator[Connection]:
    """The store, for something to be done to all of `ids`. Raises NotFound, which then speaks for the others too."""
    try:
        with opened(settings.store_url, write=True) as connection:
            yield connection
    except NotFound as error:
        raise NotFound(f"{error}; nothing {done}" if len(ids) > 1 else str(error)) from None


def _line(recipient: ListedRecipient) -> dict[str, object]:
    return {
        "id": recipient.id,
        "message": recipient.message_id,
        "account": recipient.account_id,
        "recipient": recipient.address,
        "class": recipient.field,
        "state": _state(recipient),
        "age": age(recipient.age),
        "attempts": recipient.attempts,
        "next": age(max(0.0, recipient.next_in)) if recipient.next_in is not None else None,
        "last_reply": _reply(recipient.code, recipient.enhanced, recipient.text),
    }


def _state(recipient: ListedRecipient) -> str:
    if recipient.state == State.HELD:
        return f"held ({recipient.hold})" if recipient.hold else "held"
    return "active" if recipient.leased else recipient.state


def _reply(code: int, enhanced: str, text: str) -> str:
    return " ".join(part for part in (str(code) if code else "", enhanced, text) if part)


def _print_message(message: ShownMessage) -> None:
    account = f"account {message.account_id}" if message.account_id else "the gateway itself"
    click.echo(f"Message {message.id} of {account}, {message.size} octets, accepted {age(message.age)} ago")
    click.echo(f"Sender: <{message.sender}>\n")
    print_table([_line(each) for each in message.recipients])
    if message.attempts:
        click.echo("\nAttempts:")
        print_table(
            [
                {"recipient": each.recipient_id, "ago": age(each.age), "result": each.result, "hop": each.hop}
                | {"remote": each.remote, "reply": _reply(each.code, each.enhanced, each.text)}
                for each in message.attempts
            ]
        )
    click.echo("\nHeader:")
    for line in message.header.decode("utf-8", "backslashreplace").splitlines():
        click.echo("".join(c if c.isprintable() or c == "\t" else "?" for c in line))
