"""What each event of a session means: the one place where policy meets protocol.

A `Submission` is one session's: who is signed in, and the transaction under way. It decides; it neither
reads octets nor writes them.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from gateway import maillog, reply
from gateway.accounts import policy
from gateway.accounts.authenticator import Authenticator
from gateway.accounts.decision import Place
from gateway.accounts.model import MAX_LOGIN, MAX_PASSWORD, Account, Credentials
from gateway.address import unquoted
from gateway.config import Limits, Senders
from gateway.draft import Draft
from gateway.errors import Refused
from gateway.message import prepare
from gateway.message.header import BadContent
from gateway.metrics import Metrics
from gateway.queue.body import BodyBuffer
from gateway.queue.model import BodyRef, Envelope, Field, NewMessage, NewRecipient
from gateway.queue.ports import Bodies
from gateway.reply import Reply
from gateway.smtp import events
from gateway.smtp.events import Event


class Acceptance(Protocol):
    """The queue, as a submission sees it."""

    def accept(self, message: NewMessage) -> Awaitable[None]:
        """Queue the message durably. Raises StorageFull or Unavailable, with nothing queued as far as we know."""
        ...


@dataclass(slots=True)
class Rules:
    """What all sessions share. A reload replaces `limits` and `senders`; the next command sees the new ones."""

    hostname: str
    hide_client: bool
    limits: Limits
    senders: Senders
    authenticator: Authenticator
    bodies: Bodies
    queue: Acceptance
    metrics: Metrics
    now: Callable[[], float]  # seconds since the epoch, by the store's clock
    new_id: Callable[[], str]


@dataclass(slots=True)
class Peer:
    """The other end: its address as it counts for us, the networks it is in, and what its TLS is ("" without)."""

    address: str
    network: str
    trust_network: str
    tls: str = ""


@dataclass(slots=True)
class _Transaction:
    """From MAIL on. `recipients` by what makes two RCPTs the same one."""

    mail: events.MailFrom
    recipients: dict[str, events.RcptTo] = field(default_factory=dict)
    draft: Draft | None = None


class Submission:
    """One session's decisions; `decide` is called for one event at a time."""

    def __init__(self, rules: Rules, peer: Peer) -> None:
        self._rules = rules
        self._peer = peer
        self._helo = ""
        self._account: Account | None = None
        self._transaction: _Transaction | None = None

    async def decide(self, event: Event) -> Reply | None:
        """The answer to an event; None for a part of a message. Raises Refused, StorageFull, Unavailable."""
        match event:
            case events.BodyPart():
                await self._draft().take(event.data)
                return None
            case events.Hello():
                return await self._hello(event)
            case events.Authenticate():
                return await self._authenticate(event)
            case events.MailFrom():
                return await self._mail(event)
            case events.RcptTo():
                return self._rcpt(event)
            case events.BodyStart():
                return self._body_start()
            case events.ChunkEnd():
                return self._chunk_end(event)
            case events.BodyEnd():
                return await self._body_end(event)
            case events.Reset():
                await self.closed()
                return reply.FLUSHED
            case events.StartTls():
                return None

    async def closed(self) -> None:
        """The transaction is over, whatever has come of it."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.draft is not None:
            await transaction.draft.discard()

    # Session

    async def _hello(self, event: events.Hello) -> Reply:
        await self.closed()
        self._helo = event.name
        if not event.extended:
            return reply.hello(self._rules.hostname)
        size = self._account.message_size if self._account else self._rules.limits.message_size
        limits = (f"SIZE {size}", f"LIMITS RCPTMAX={self._rules.limits.recipients}")
        return reply.extensions(self._rules.hostname, (*event.keywords, *limits))

    async def _authenticate(self, event: events.Authenticate) -> Reply:
        if len(event.login.encode()) > MAX_LOGIN or len(event.password) > MAX_PASSWORD:
            return reply.AUTH_TOO_LONG
        credentials = Credentials(event.login, event.password, event.mechanism)
        place = Place(self._peer.network, self._peer.trust_network)
        self._account = await self._rules.authenticator.sign_in(credentials, place)
        return reply.SIGNED_IN

    # Envelope

    async def _mail(self, event: events.MailFrom) -> Reply:
        await self.closed()  # a message whose chunk was refused may still be there
        self._account = account = await self._rules.authenticator.check_open(self._signed_in())
        policy.check_size(account.message_size, event.size or 0)
        rule = self._rules.senders.envelope
        if event.sender is not None and not policy.may_send_as(account, event.sender, rule=rule):
            return reply.NOT_YOUR_SENDER
        self._transaction = _Transaction(event)
        return reply.SENDER_OK

    def _rcpt(self, event: events.RcptTo) -> Reply:
        recipients = self._open().recipients
        key = f"{unquoted(event.recipient.local)}@{event.recipient.domain_key}"
        if key not in recipients:  # a repeated one is accepted, and delivered once
            policy.check_recipients(len(recipients) + 1, self._rules.limits.recipients)
            recipients[key] = event
        return reply.RECIPIENT_OK

    # Message

    def _body_start(self) -> Reply:
        queue_id = self._rules.new_id()
        body = BodyBuffer(self._rules.bodies, queue_id)
        self._open().draft = Draft(queue_id, body, self._signed_in().message_size)
        return reply.GO_AHEAD

    def _chunk_end(self, event: events.ChunkEnd) -> Reply:
        return self._draft().refusal or reply.chunk_accepted(event.octets)

    async def _body_end(self, event: events.BodyEnd) -> Reply:
        transaction, draft = self._open(), self._draft()
        try:
            await draft.finish(event, bare_newlines=self._rules.limits.bare_newline == "normalize")
            if draft.refusal is not None:
                raise Refused(draft.refusal)
            self._account = await self._rules.authenticator.check_open(self._signed_in())
            self._check_authors(draft)
            policy.check_size(self._account.message_size, event.octets)
            message = self._prepared(transaction, draft, event, await draft.stored())
            await self._rules.queue.accept(message)
        except Refused:
            self._rules.metrics.messages_total.labels("refused").inc()
            raise
        except Exception:
            self._rules.metrics.messages_total.labels("unavailable").inc()
            raise
        finally:  # what was queued is the queue's; discarding a finished body does nothing
            await self.closed()
        self._count(message)
        return reply.accepted(draft.queue_id)

    def _check_authors(self, draft: Draft) -> None:
        """From and Sender belong to the account. Raises Refused."""
        rule = self._rules.senders.header_from
        for name, author in prepare.senders(draft.header):
            if not policy.may_send_as(self._signed_in(), author, rule=rule):
                raise Refused(reply.not_your_header(name))

    def _prepared(self, transaction: _Transaction, draft: Draft, end: events.BodyEnd, body: BodyRef) -> NewMessage:
        """The message as it is queued: header rewritten, each recipient with its place in the header."""
        account, mail = self._signed_in(), transaction.mail
        asked = list(transaction.recipients.values())
        places = draft.placements([event.recipient for event in asked])
        try:
            rewritten = prepare.rewrite(
                draft.header,
                trace=self._trace(draft.queue_id, mail.smtputf8),
                date=datetime.fromtimestamp(self._rules.now(), UTC),
                message_id=draft.queue_id,
                login=account.login,
            )
        except BadContent as bad:
            raise Refused(reply.bad_content(bad.reason)) from None
        sender = str(mail.sender) if mail.sender else ""
        header = rewritten.encode() + b"\r\n"
        eight_bit = mail.eight_bit or end.eight_bit or not header.isascii()  # a From field may have been added
        return NewMessage(
            draft.queue_id,
            account.id,
            Envelope(sender, eight_bit, mail.smtputf8, mail.ret, mail.envid),
            header,
            body,
            tuple(
                NewRecipient(str(event.recipient), Field(place), event.notify, event.orcpt)
                for event, place in zip(asked, places, strict=True)
            ),
        )

    def _trace(self, queue_id: str, smtputf8: bool) -> prepare.Trace:
        tls = self._peer.tls
        protocol = ("UTF8SMTP" if smtputf8 else "ESMTP") + ("SA" if tls else "A")  # RFC 3848, RFC 6531 section 4.3
        client = None if self._rules.hide_client else self._peer.address
        return prepare.Trace(self._rules.hostname, queue_id, self._helo, client, protocol, tls)

    def _count(self, message: NewMessage) -> None:
        metrics = self._rules.metrics
        metrics.messages_total.labels("accepted").inc()
        metrics.message_bytes.observe(message.size)
        for recipient in message.recipients:
            metrics.recipients_total.labels(recipient.field.value).inc()
        maillog.accepted(
            queue_id=message.id,
            account=message.account_id,
            network=self._peer.network,
            octets=message.size,
            recipients=Counter(recipient.field.value for recipient in message.recipients),
        )

    # The session's order of commands guarantees these (gateway.smtp.commands)

    def _signed_in(self) -> Account:
        assert self._account is not None
        return self._account

    def _open(self) -> _Transaction:
        assert self._transaction is not None
        return self._transaction

    def _draft(self) -> Draft:
        draft = self._open().draft
        assert draft is not None
        return draft
