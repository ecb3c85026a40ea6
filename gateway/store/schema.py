"""The tables of our own store. Times are seconds since 1970 by the store's clock (`gateway.store.clock`).

A change here needs a migration beside it, and HEAD moved to it; a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
)

HEAD = "0007"  # the migration that this code needs

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # of rows that come and go by the million; SQLite's have 64 bits anyway

process = Table(
    "process",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),  # of its state directory; see gateway.store.processes
    Column("started", Double, nullable=False),
    Column("heartbeat", Double, nullable=False, server_default="0"),  # the latest, on PostgreSQL
    sqlite_autoincrement=True,  # an id given out again would make a dead process's leases look alive
)

# Wide columns last: SQLite then reads the narrow ones without following a row's overflow pages.
message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("eight_bit", Boolean, nullable=False),
    Column("smtputf8", Boolean, nullable=False),
    Column("ret", Text, nullable=False),
    Column("envid", Text, nullable=False),
    Column("accepted", Double, nullable=False),
    Column("finished", Double),  # since when nobody waits for it
    Column("body_size", Integer, nullable=False),
    Column("body_file", Text),  # name in the spool; NULL for a body in this row, or once nobody waits
    Column("header", LargeBinary, nullable=False),
    Column("body", LargeBinary),
)
Index(
    "message_finished",
    message.c.finished,
    sqlite_where=message.c.finished.is_not(None),
    postgresql_where=message.c.finished.is_not(None),
)
Index(
    "message_body_file",
    message.c.body_file,
    sqlite_where=message.c.body_file.is_not(None),
    postgresql_where=message.c.body_file.is_not(None),
)

recipient = Table(
    "recipient",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("message_id", Text, ForeignKey("message.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("domain", Text, nullable=False),  # lower case, A-labels
    Column("field", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", Double, nullable=False),
    Column("process", Integer),  # the lease; NULL: free. No foreign key: it would be looked at for each
    Column("notify", Text, nullable=False),
    Column("orcpt", Text, nullable=False),
    Column("delay_warned", Boolean, nullable=False),
    Column("code", Integer, nullable=False),  # of the latest reply, with the next three; 0: none
    Column("enhanced", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("hop", Text, nullable=False),
    Column("finished", Double),
    Column("hold", Text, nullable=False, server_default=""),  # why it is held: gateway.queue.model.Hold
    Column("held_account", Text),  # whose it is, once it was held because that account is disabled
    sqlite_autoincrement=True,  # a late outcome must never meet another recipient under its id
)
# Written out, not bound: SQLite takes a partial index only when it can prove the condition before values are bound.
queued = recipient.c.state == literal_column("'queued'")
due_rows = and_(queued, recipient.c.process.is_(None))
held_back = and_(recipient.c.state == literal_column("'held'"), recipient.c.hold == literal_column("'account'"))
Index("recipient_message", recipient.c.message_id)
# With the id, so that what is due is read in its order even when a million is: a sort would read all of it first
Index("recipient_due", recipient.c.next_attempt, recipient.c.id, sqlite_where=due_rows, postgresql_where=due_rows)
Index(  # those that wait, in the order in which they came: see gateway.store.census
    "recipient_waiting",
    recipient.c.state,
    recipient.c.delay_warned,
    recipient.c.id,
    recipient.c.attempts,
    sqlite_where=recipient.c.finished.is_(None),
    postgresql_where=recipient.c.finished.is_(None),
)
Index("recipient_held_account", recipient.c.held_account, sqlite_where=held_back, postgresql_where=held_back)
Index(
    "recipient_lease",
    recipient.c.process,
    sqlite_where=recipient.c.process.is_not(None),
    postgresql_where=recipient.c.process.is_not(None),
)

body_chunk = Table(  # large bodies where machines share the store: see gateway.store.chunks
    "body_chunk",
    metadata,
    Column("name", Text, primary_key=True),  # message.body_file
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("recipient_id", _NUMBER, ForeignKey("recipient.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("result", Text, nullable=False),
    Column("code", Integer, nullable=False),
    Column("enhanced", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("hop", Text, nullable=False),
    Column("remote", Text, nullable=False),  # name of the server that answered
)
Index("attempt_recipient", attempt.c.recipient_id)

# Sign-in. `subject` says whose sheet: see gateway.accounts.lockout.
failure = Table(
    "failure",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("stored_tag", Text, nullable=False),
    Column("network", Text, nullable=False),
    Column("fingerprint", Integer, nullable=False),
    Column("known", Boolean, nullable=False),  # whether the account was known from the trust network
    Column("confirmed", Boolean, nullable=False),  # False: a charge, whose hash runs or whose process died
    Column("at", Double, nullable=False),  # of the charge
    Column("trust_network", Text, nullable=False, server_default=""),  # "": of a version that did not tell
    Column("exact", Boolean, nullable=False, server_default=false()),  # whether the account was known from the network itself
    sqlite_autoincrement=True,  # a late refund must never meet another charge under its id
)
Index("failure_account_network", failure.c.subject, failure.c.network, failure.c.at)
Index("failure_account", failure.c.subject, failure.c.at)
Index("failure_network", failure.c.network, failure.c.at)
Index("failure_at", failure.c.at)
Index("failure_trust_network", failure.c.trust_network, failure.c.at)

lockout = Table(  # every lock made, the ones that are over too: further ones last longer
    "lockout",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),  # "" for a network's
    Column("stored_tag", Text, nullable=False),
    Column("network", Text, nullable=False),  # "" for an account's
    Column("at", Double, nullable=False),
    Column("until", Double, nullable=False),
)
Index("lockout_sheet", lockout.c.subject, lockout.c.network, lockout.c.until)
Index("lockout_network", lockout.c.network)
Index("lockout_until", lockout.c.until)

known_network = Table(  # trust networks and, as rows of their own, the exact ones in them
    "known_network",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("network", Text, primary_key=True),
    Column("seen", Double, nullable=False),  # the latest sign-in, to a day
)
Index("known_network_seen", known_network.c.seen)

sign_in = Table(  # how often an account was tried, a day (since 1970, UTC)
    "sign_in",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("network", Text, primary_key=True),  # "": further networks of this day
    Column("mechanism", Text, primary_key=True),
    Column("result", Text, primary_key=True),
    Column("first", Double, nullable=False),
    Column("last", Double, nullable=False),
    Column("count", Integer, nullable=False),
)
Index("sign_in_day", sign_in.c.day)

# What accounts send. A day is in UTC, as days since 1970.
usage_day = Table(
    "usage_day",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("messages", Integer, nullable=False),
    Column("to_recipients", Integer, nullable=False),  # the three together are what the daily limit counts
    Column("cc_recipients", Integer, nullable=False),
    Column("bcc_recipients", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("refusals", Integer, nullable=False),
)
Index("usage_day_day", usage_day.c.day)

suspension = Table(  # every one made, lifted ones too
    "suspension",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("day", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("daily_limit", Integer, nullable=False),  # that it went over
    Column("used", Integer, nullable=False),  # recipients charged on that day
    Column("lifted", Double),
)
Index(
    "suspension_active",
    suspension.c.account_id,
    unique=True,
    sqlite_where=suspension.c.lifted.is_(None),
    postgresql_where=suspension.c.lifted.is_(None),
)
Index("suspension_day", suspension.c.account_id, suspension.c.day)

domain = Table(
    "domain",
    metadata,
    Column("name", Text, primary_key=True),  # lower case, A-labels
    Column("account_id", Text, nullable=False),
    Column("added", Double, nullable=False),
)
Index("domain_account", domain.c.account_id)

credential = Table(  # the SMTP users of a domain: at most five, which the slots see to, however many are made at once
    "credential",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain", Text, ForeignKey("domain.name", ondelete="CASCADE"), nullable=False),
    Column("slot", Integer, CheckConstraint("slot BETWEEN 1 AND 5", name="credential_at_most_five"), nullable=False),
    Column("name", Text, nullable=False, unique=True),  # address.Address.key
    Column("stored", Text, nullable=False),
    Column("changed", Double, nullable=False),  # when its password was made
    Column("last_used", Double),
    Column("last_network", Text, nullable=False),
    UniqueConstraint("domain", "slot"),
    sqlite_autoincrement=True,  # its sheets of failed sign-ins go by the id
)

resend = Table(  # what was submitted in the last minutes, to know it when it comes again
    "resend",
    metadata,
    Column("key", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("at", Double, nullable=False),
)
Index("resend_at", resend.c.at)
Index("resend_account", resend.c.account_id, resend.c.at)
