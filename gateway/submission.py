"""What each event of a session means: the one place where policy meets protocol.

A `Submission` is one session's: who is signed in, and the transaction under way. It decides; it neither
reads octets nor writes them.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway import address, maillog, reply
from gateway.accounts import policy
from gateway.accounts.authenticator import Authenticator
from gateway.accounts.decision import Place
from gateway.accounts.model import MAX_LOGIN, MAX_PASSWORD, Account, Credentials
from gateway.accounts.ports import Domains
from gateway.address import Address, DomainFlaw
from gateway.config import Limits, Senders
from gateway.draft import Draft
from gateway.errors import Refused
from gateway.message import prepare
from gateway.message.header import BadContent
from gateway.metrics import Metrics
from gateway.queue.allowance import Denied
from gateway.queue.body import BodyBuffer
from gateway.queue.model import Added, BodyRef, Duplicate, Envelope, Field, NewMessage, NewRecipient, Queued, Spooled
from gateway.queue.ports import Bodies, Ledger
from gateway.queue.resend import resend_key
from gateway.quota import Quota, terms_of
from gateway.reply import Reply
from gateway.smtp import events
from gateway.smtp.events import Event

_FIELDS = {field.value: field for field in Field}
_SENDER_FLAWS = {
    DomainFlaw.ONE_LABEL: reply.INCOMPLETE_SENDER,
    DomainFlaw.BARE_IP: reply.BARE_IP_SENDER,
    DomainFlaw.NUMERIC: reply.NUMERIC_SENDER,
}
_RECIPIENT_FLAWS = {
    DomainFlaw.ONE_LABEL: reply.INCOMPLETE_RECIPIENT,
    DomainFlaw.BARE_IP: reply.BARE_IP_RECIPIENT,
    DomainFlaw.NUMERIC: reply.NUMERIC_RECIPIENT,
}
_BOUNCERS = ("mailer-daemon", "postmaster")  # who a mail server's own reports are from
_NO_REFUSAL = (421, 451)  # replies that say nothing about what was asked for


class Acceptance(Protocol):
    """The queue, as a submission sees it."""

    def accept(self, message: NewMessage) -> Awaitable[Added]:
        """Queue the message durably, or say why not (see queue.ports.Outbox.add).

        Raises StorageFull or Unavailable, with nothing queued as far as we know.
        """
        ...


@dataclass(slots=True)
class Rules:
    """What all sessions share. A reload replaces `limits` and `senders`; the next command sees the new ones."""

    hostname: str
    hide_client: bool
    limits: Limits
    senders: Senders
    authenticator: Authenticator
    domains: Domains
    ledger: Ledger
    bodies: Bodies
    queue: Acceptance
    metrics: Metrics
    now: Callable[[], float]  # seconds since the epoch, by the store's clock
    new_id: Callable[[], str]
    postmaster: Address  # whom mail for <Postmaster> goes to


@dataclass(slots=True)
class Peer:
    """The other end: its address as it counts for us, the networks it is in, and its TLS cipher suite ("" without)."""

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
    places: list[prepare.Placement] = field(default_factory=list)  # of each recipient in the header, once that is known


class Submission:
    """One session's decisions; `decide` is called for one event at a time."""

    def __init__(self, rules: Rules, peer: Peer) -> None:
        self._rules = rules
        self._peer = peer
        self._helo = ""
        self._account: Account | None = None
        self._quota = Quota(rules.ledger, rules.metrics)
        self._transaction: _Transaction | None = None

    async def decide(self, event: Event) -> Reply | None:
        """The answer to an event; None for a part of a message. Raises Refused, StorageFull, Unavailable."""
        try:
            match event:  # what comes most often is first
                case events.RcptTo():
                    return await self._rcpt(event)
                case events.BodyPart():
                    await self._draft().take(event.data)
                    return None
                case events.MailFrom():
                    return await self._mail(event)
                case events.BodyStart():
                    return self._body_start()
                case events.BodyEnd():
                    return await self._body_end(event)
                case events.Hello():
                    return await self._hello(event)
                case events.Authenticate():
                    return await self._authenticate(event)
                case events.ChunkEnd():
                    return self._chunk_end(event)
                case events.Reset():
                    await self.closed()
                    return reply.FLUSHED
                case events.StartTls():
                    return None
        except Refused as refused:
            if self._account is not None and refused.reply.code not in _NO_REFUSAL:
                self._rules.ledger.refused(self._account.id)
            raise

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
        account, rules = self._account, self._rules.limits
        size = account.message_size if account else rules.message_size
        recipients = await self._quota.most_recipients(account, rules) if account else rules.recipients
        limits = (f"SIZE {size}", f"LIMITS RCPTMAX={recipients} MAILMAX={rules.messages_per_session}")  # RFC 9422
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
        if event.sender is not None:
            _check_domain(event.sender, _SENDER_FLAWS)
        await self._check_sender(event.sender, set())
        await self._quota.begin(account)
        self._transaction = _Transaction(event)
        return reply.SENDER_OK

    async def _check_sender(self, sender: Address | None, owned: set[str]) -> None:
        """The envelope's sender is the account's, or nobody (RFC 5321 section 4.5.5). Raises Refused, Unavailable."""
        if sender is not None and not await self._may_send_as(sender, self._rules.senders.envelope, owned):
            raise Refused(reply.NOT_YOUR_SENDER)

    async def _may_send_as(self, address: Address, rule: Literal["own", "any"], owned: set[str]) -> bool:
        """`owned`: domains that turned out to be the account's a moment ago; one found now is added."""
        account = self._signed_in()
        if policy.may_send_as(account, address, rule=rule):
            return True
        if account.credential is not None:
            return False
        domain = address.domain_key
        if domain not in owned and await self._rules.domains.belongs(domain, account.id):
            owned.add(domain)
        return domain in owned

    async def _rcpt(self, event: events.RcptTo) -> Reply:
        recipients = self._open().recipients
        to = self._destination(event.recipient)
        if to is event.recipient:
            _check_domain(to, _RECIPIENT_FLAWS)
        key = to.exact_key
        if key not in recipients:  # a repeated one is accepted, and delivered once
            count = len(recipients) + 1
            policy.check_recipients(count, self._rules.limits.recipients)
            if not self._quota.has_room(self._signed_in(), self._rules.limits, count):
                await self._admit(event, count)
            recipients[key] = event
        return reply.RECIPIENT_OK

    def _destination(self, recipient: Address) -> Address:
        """To whom it goes: mail for this server's postmaster to the configured address (RFC 5321 section 4.5.1)."""
        if recipient.local.lower() != "postmaster" or recipient.domain.lower() not in ("", self._rules.hostname):
            return recipient
        return self._rules.postmaster

    async def _admit(self, event: events.RcptTo, recipients: int) -> None:
        """The day has no room for one more, as far as we know: whether that is so. Raises Refused, Unavailable."""
        sender = self._open().mail.sender
        await self._quota.admit(
            self._signed_in(),
            self._rules.limits,
            recipients,
            sender=str(sender) if sender else "",
            recipient=str(self._destination(event.recipient)),
        )

    # Message

    def _body_start(self) -> Reply:
        queue_id = self._rules.new_id()
        body = BodyBuffer(self._rules.bodies, queue_id)
        self._open().draft = Draft(queue_id, body, self._signed_in().message_size)
        return reply.GO_AHEAD

    def _chunk_end(self, event: events.ChunkEnd) -> Reply:
        if refusal := self._draft().refusal:
            raise Refused(refusal)
        return reply.chunk_accepted(event.octets)

    async def _body_end(self, event: events.BodyEnd) -> Reply:
        transaction, draft = self._open(), self._draft()
        try:
            await draft.finish(event, bare_newlines=self._rules.limits.bare_newline == "normalize")
            if draft.refusal is not None:
                raise Refused(draft.refusal)
            self._account = await self._rules.authenticator.check_open(self._signed_in())
            owned: set[str] = set()  # sender and author mostly share a domain, which is asked about once
            await self._check_sender(transaction.mail.sender, owned)
            await self._check_authors(draft, owned)
            policy.check_size(self._account.message_size, event.octets)
            header = self._header(transaction, draft)  # all that can be refused comes before the body is made durable
            message = self._message(transaction, draft, event, header, await draft.stored())
            added = await self._added(message)
        except Refused:
            self._rules.metrics.messages_total.labels("refused").inc()
            raise
        except Exception:
            self._rules.metrics.messages_total.labels("unavailable").inc()
            raise
        finally:  # what was queued is the queue's; discarding a finished body does nothing
            await self.closed()
        if isinstance(added, Duplicate):
            self._rules.metrics.messages_total.labels("duplicate").inc()
            maillog.sent_again(added.first, message.account_id)
            return reply.accepted(added.first)
        self._count(message, transaction.places, unannounced=event.eight_bit and not transaction.mail.eight_bit)
        self._quota.charged(self._account, self._rules.limits, added, len(message.recipients))
        return reply.accepted(draft.queue_id)

    async def _added(self, message: NewMessage) -> Queued | Duplicate:
        """Hand it to the queue. Raises Refused for what is over the daily limit; StorageFull, Unavailable."""
        added = await self._rules.queue.accept(message)
        if isinstance(added, Queued):
            return added
        if isinstance(message.body, Spooled):  # no row names it
            await self._rules.bodies.remove(message.body)
        if isinstance(added, Denied):
            raise self._quota.denied(self._signed_in(), added)
        return added

    async def _check_authors(self, draft: Draft, owned: set[str]) -> None:
        """From and Sender belong to the account. Raises Refused, Unavailable."""
        rule = self._rules.senders.header_from
        for name, author in draft.senders:
            if not self._is_bounce_of(author) and not await self._may_send_as(author, rule, owned):
                raise Refused(reply.not_your_header(name))

    def _is_bounce_of(self, author: Address) -> bool:
        """Whether this is a report of a mail server that may send such: by its MAILER-DAEMON or postmaster, from <>."""
        hosts = self._rules.senders.bounces_from
        if not hosts or self._open().mail.sender is not None:
            return False
        return author.local.lower() in _BOUNCERS and author.domain_key in hosts

    def _header(self, transaction: _Transaction, draft: Draft) -> bytes:
        """The header as it is queued, with its empty line. Raises Refused."""
        try:
            block = prepare.rewrite(
                draft.header,
                trace=self._trace(draft.queue_id, transaction.mail.smtputf8),
                date=self._rules.now(),
                message_id=draft.queue_id,
                login=self._signed_in().login,
            )
        except BadContent as bad:
            raise Refused(reply.bad_content(bad.reason)) from None
        return block + b"\r\n"

    def _message(
        self, transaction: _Transaction, draft: Draft, end: events.BodyEnd, header: bytes, body: BodyRef
    ) -> NewMessage:
        """The message as it is queued, each recipient with its place in the header."""
        account, mail = self._signed_in(), transaction.mail
        asked = list(transaction.recipients.values())
        transaction.places = draft.placements([event.recipient for event in asked])
        recipients = [
            NewRecipient(str(self._destination(event.recipient)), _FIELDS[place], event.notify, event.orcpt)
            for event, place in zip(asked, transaction.places, strict=True)
        ]
        sender = str(mail.sender) if mail.sender else ""
        eight_bit = mail.eight_bit or end.eight_bit or not header.isascii()  # a From field may have been added
        envelope = Envelope(sender, eight_bit, mail.smtputf8, mail.ret, mail.envid)
        terms = terms_of(account, self._rules.limits)
        # Two messages without a Message-ID may be alike and both be meant: a script's alert, twice
        key = resend_key(account.id, envelope, recipients, draft.digest) if draft.header.all(b"message-id") else ""
        return NewMessage(draft.queue_id, account.id, envelope, header, body, tuple(recipients), terms, key)

    def _trace(self, queue_id: str, smtputf8: bool) -> prepare.Trace:
        tls = self._peer.tls
        protocol = ("UTF8SMTP" if smtputf8 else "ESMTP") + ("SA" if tls else "A")  # RFC 3848, RFC 6531 section 4.3
        client = None if self._rules.hide_client else self._peer.address
        return prepare.Trace(self._rules.hostname, queue_id, self._helo, client, protocol, tls)

    def _count(self, message: NewMessage, places: Sequence[str], *, unannounced: bool) -> None:
        account, metrics = self._signed_in(), self._rules.metrics
        if unannounced:  # 8-bit octets, which clients send without having said so
            metrics.eight_bit_unannounced_total.inc()
        metrics.messages_total.labels("accepted").inc()
        metrics.message_bytes.observe(message.size)
        fields = Counter(places)
        for field_name, recipients in fields.items():
            metrics.recipients_total.labels(field_name).inc(recipients)
        maillog.accepted(
            queue_id=message.id,
            account=message.account_id,
            network=self._peer.network,
            octets=message.size,
            recipients=fields,
            credential=account.credential.id if account.credential else None,
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


def _check_domain(given: Address, replies: Mapping[DomainFlaw, Reply]) -> None:
    """Its domain is fully qualified (RFC 6409 section 4.2). Raises Refused."""
    flaw = address.domain_flaw(given.domain)
    if flaw is not None:
        raise Refused(replies[flaw])
