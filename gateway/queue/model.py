"""The values of the queue: what was accepted, for whom, and what became of each recipient."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from enum import StrEnum

from gateway.queue.allowance import Denied, Standing, Terms
from gateway.values import value


class Field(StrEnum):
    """Where the header names a recipient; nowhere means blind."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


class State(StrEnum):
    """Of a recipient. A queued one that a process works on has a lease as well."""

    QUEUED = "queued"
    HELD = "held"
    DELIVERED = "delivered"
    FAILED = "failed"
    DELETED = "deleted"


class Hold(StrEnum):
    """Why a recipient is held; an enabled account or an operator ends that."""

    NONE = ""
    ACCOUNT = "account"  # its sender's account is disabled
    OPERATOR = "operator"
    RELEASED = "released"  # not held any more: an operator has let it go although the account is disabled


class Result(StrEnum):
    """What one attempt came to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"


@value
class Inline:
    """A body small enough to live in its message row."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)


@value
class Spooled:
    """A body in the spool: `name` is the file's name there, `size` in octets."""

    name: str
    size: int


BodyRef = Inline | Spooled


@value
class Envelope:
    """What the client said around the message (RFC 5321, 3461, 6152, 6531). Strings are "" when not given."""

    sender: str  # "" is the null sender <>
    eight_bit: bool = False  # BODY=8BITMIME, or 8-bit octets came all the same
    smtputf8: bool = False
    ret: str = ""  # "FULL" or "HDRS"
    envid: str = ""  # as xtext


@value
class NewRecipient:
    address: str
    field: Field
    notify: str = ""  # "NEVER", or of SUCCESS,FAILURE,DELAY
    orcpt: str = ""  # "rfc822;xtext"


@value
class NewMessage:
    """A message about to be queued. `header` ends with its empty line; `body` follows it."""

    id: str  # the queue id, 16 characters that sort by time
    account_id: str  # "" for our own reports
    envelope: Envelope
    header: bytes = field(repr=False)
    body: BodyRef
    recipients: tuple[NewRecipient, ...]
    terms: Terms | None = None  # None: not charged to anybody
    resend_key: str = ""  # what the same submission has when it is sent again; "": not looked for

    @property
    def size(self) -> int:
        return len(self.header) + self.body.size


@value
class Recipient:
    """One row of table recipient that waits for delivery."""

    id: int
    address: str
    field: Field
    notify: str
    orcpt: str
    attempts: int  # finished ones
    delay_warned: bool
    released: bool = False  # goes even when its sender's account is disabled
    lease: int = dataclasses.field(default=0, compare=False)  # under which it is ours: the number of this life of the gateway


@value
class QueuedMessage:
    """A message with those of its recipients that are leased to us."""

    id: str
    account_id: str
    envelope: Envelope
    header: bytes = field(repr=False)
    body: BodyRef
    age: float  # seconds since it was accepted, by the store's clock, when it was read
    recipients: tuple[Recipient, ...]

    @property
    def size(self) -> int:
        return len(self.header) + self.body.size


@value
class Queued:
    """The message is on disk. `standing` has its charge in it; None when nobody was charged."""

    message: QueuedMessage
    standing: Standing | None = None


@value
class Duplicate:
    """The same submission was taken before, as `first` (a queue id): nothing was queued or charged."""

    first: str


Added = Queued | Duplicate | Denied


@value
class Outcome:
    """What the next hop made of one recipient. `code` 0: no reply came (connection lost, timeout, refused)."""

    recipient: Recipient
    result: Result
    code: int
    enhanced: str  # "" when the hop gave none
    text: str  # the hop's words or ours, for the log, `queue show` and reports; one line, at most 512 characters
    hop: str  # the hop's label in configuration and metrics
    remote: str = ""  # name of the server that answered, for Remote-MTA
    relayed_dsn: bool = False  # the hop took over NOTIFY (RFC 3461 section 5.2.2)
    burns_attempt: bool = True  # False: no hop could be reached; not the message's fault
    final: bool = False  # delivered for good, into a mailbox: nobody after us will report (RFC 3461 section 5.2.3)
    unconfirmed: bool = False  # the final reply was lost: it may have arrived, and may arrive again


@value
class Record:
    """How an outcome is written down."""

    outcome: Outcome
    state: State  # QUEUED (again), DELIVERED or FAILED
    delay: float = 0.0  # seconds until the next attempt, with QUEUED
    delay_warned: bool = False  # a delay report goes out with this record


MAX_BLIND_REPORTS = 20  # on failed blind recipients of one message, one report each; a last one tells how many more there are

# The report about so many more failed blind recipients. A store may call it in a thread and more than once: it changes nothing.
More = Callable[[int], NewMessage]


@value
class Recorded:
    """What became of records and reports.

    `bodies`: spooled ones that nobody needs any more; `late`: ids of recipients that were not ours now.
    `unsent`: reports past MAX_BLIND_REPORTS, whose bodies can go. A report on late outcomes is none of them: a commit that
    looked failed may have queued it.
    `more`: how many failed blind recipients the report of `More` tells of, 0 when it was not queued.
    """

    bodies: Sequence[Spooled] = ()
    late: frozenset[int] = frozenset()
    unsent: Sequence[NewMessage] = ()
    more: int = 0


@value
class QueueCounts:
    """Figures for the metrics: recipients by state, and the age in seconds of the oldest one still waiting."""

    queued: int  # never tried, no lease
    deferred: int  # tried at least once, no lease
    active: int  # leased
    held: int
    oldest: float


def transactions(recipients: Iterable[Recipient]) -> list[Sequence[Recipient]]:
    """The recipients grouped as they go to a next hop: those that the header names together, each blind one alone."""
    named: list[Recipient] = []
    groups: list[Sequence[Recipient]] = []
    for recipient in recipients:
        if recipient.field is Field.BCC:
            groups.append([recipient])
        else:
            named.append(recipient)
    return [named, *groups] if named else groups
