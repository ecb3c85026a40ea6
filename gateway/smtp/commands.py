"""The command table: which command is allowed in which state, and what it is told in the others.

Every refusal for a command out of order derives from these rows; `ServerSession` reads them and has no
such conditions of its own.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway import reply
from gateway.reply import Reply

MAX_LINE = 12288 + 2  # octets: what AUTH may need (RFC 4954 section 4); every other command has less in RULES


class State(Enum):
    START = auto()  # no EHLO yet
    READY = auto()  # greeted, no transaction
    MAIL = auto()  # a sender, no recipient
    RCPT = auto()  # at least one recipient
    CHUNKS = auto()  # BDAT has begun the message


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What one listener offers. `tls` says whether STARTTLS is offered; `implicit_tls` that TLS is there from the start."""

    hostname: str
    starttls: bool
    implicit_tls: bool = False
    plaintext_auth: bool = False
    errors: int = 20
    auth_failures: int = 3
    messages: int = 1000
    octets: int = sys.maxsize  # of a message or a chunk, after which it is read no further
    octets_unknown: int = 1 << 20  # the same, while nobody is signed in


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the command table: who runs it, in which states, and what it says in the others."""

    run: str = ""  # name of the session's method, when it does more than reply
    says: Reply = reply.BAD_COMMAND  # the reply without one
    wrong: Mapping[State, Reply] = field(default_factory=dict)
    limit: int = 512  # octets with CRLF (RFC 5321 section 4.5.3.1.4) and what extensions add to it
    argument: bool = True  # False: 501 if there is one
    signed_in: bool = False
    junk: bool = False  # moves nothing forward


IN_TRANSACTION = (State.MAIL, State.RCPT, State.CHUNKS)
_EARLY = {State.START: reply.HELLO_FIRST}

RULES: dict[str, Rule] = {
    "EHLO": Rule("_hello", junk=True),
    "HELO": Rule("_hello", junk=True),
    "STARTTLS": Rule("_starttls", wrong=_EARLY | dict.fromkeys(IN_TRANSACTION, reply.TLS_IN_TRANSACTION), argument=False),
    "AUTH": Rule("_auth", wrong=_EARLY | dict.fromkeys(IN_TRANSACTION, reply.AUTH_IN_TRANSACTION), limit=MAX_LINE),
    # SIZE 26, BODY 17, SMTPUTF8 10, RET 9, ENVID 107, AUTH 506: RFC 1870, 6152, 6531, 3461, 4954
    "MAIL": Rule("_mail", wrong=_EARLY | dict.fromkeys(IN_TRANSACTION, reply.NESTED_MAIL), limit=512 + 675, signed_in=True),
    # NOTIFY 29, ORCPT 507: RFC 3461
    "RCPT": Rule(
        "_rcpt",
        wrong=_EARLY | {State.READY: reply.MAIL_FIRST, State.CHUNKS: reply.CHUNKS_BEGUN},
        limit=512 + 536,
        signed_in=True,
    ),
    "DATA": Rule(
        "_data",
        wrong=_EARLY | {State.READY: reply.MAIL_FIRST, State.MAIL: reply.RECIPIENT_FIRST, State.CHUNKS: reply.CHUNKS_BEGUN},
        argument=False,
        signed_in=True,
    ),
    # its chunk has to be read before anything can be said
    "BDAT": Rule(
        "_bdat",
        wrong=_EARLY | {State.READY: reply.BDAT_REFUSED, State.MAIL: reply.RECIPIENT_FIRST},
        signed_in=True,
    ),
    "RSET": Rule("_rset", argument=False, junk=True),
    "NOOP": Rule(says=reply.OK, junk=True),
    "VRFY": Rule("_vrfy", junk=True),
    "HELP": Rule(says=reply.HELP, junk=True),
    "EXPN": Rule(says=reply.NOT_IMPLEMENTED, junk=True),
    "ETRN": Rule(says=reply.NOT_IMPLEMENTED, junk=True),
    "TURN": Rule(says=reply.NOT_IMPLEMENTED, junk=True),
    "QUIT": Rule(says=reply.BYE, argument=False),
}
# What browsers, and pages that misuse them, send to any port: the session ends before a body could be taken for commands
# (Postfix: smtpd_forbidden_commands).
FOREIGN = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
VERBS = frozenset(RULES)
