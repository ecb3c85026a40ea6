"""ClientSession: our side of a conversation with a next hop, without I/O.

Theory of operation. Octets of the hop go in by `receive`; what to send comes out of `data_to_send`; what the
driver has to act on comes out of `next_event`. Every command sent puts (stage, what to do with its reply) on
`_pending`; a reply always belongs to the first of them, pipelined (RFC 2920) or not. The two modes differ in one
place only, `_advance`: all commands of a transaction at once, or the next one when nothing is pending.

A session is set up once (greeting, EHLO, STARTTLS, EHLO, AUTH) and says `Ready` or `Unusable`: trouble here is
the hop's or our configuration's, never the message's. Then transactions follow one another: `begin` leads to
`Finished`, perhaps with `SendBody` between. Every recipient always gets its verdict, also when the
connection ends: undecided ones are to be tried again. After an end the session is `closed` for ever.

A reply counts only once its command has left: a hop that answers ahead is out of step, and what it says of one
recipient would be taken for another's.
"""

import base64
from collections import deque
from collections.abc import Callable
from functools import partial

from gateway.reply import Reply
from gateway.smtp.client_events import SETUP, ClientSettings, Event, Finished, Ready, SendBody, Stage, StartTls, Unusable
from gateway.smtp.reply_reader import MAX_TEXT, ProtocolError, ReplyReader
from gateway.smtp.stuffing import Stuffer
from gateway.smtp.transaction import (
    Transaction,
    Verdict,
    delivered,
    limit,
    mail_command,
    rcpt_command,
    rcpt_verdict,
    refusals,
    verdict,
)


class ClientSession:
    """One connection to a next hop. Calls are made in the order the events ask for; nothing here raises on what a hop sends."""

    def __init__(self, settings: ClientSettings) -> None:
        self.extensions: dict[str, str] = {}
        self.remote = ""  # the name the hop gave itself in its answer to EHLO
        self.replies = 0  # whole replies so far, for the driver's timeouts
        self.closed = False
        self._settings = settings
        self._encrypted = settings.encrypted
        self._reader = ReplyReader()
        self._events: deque[Event] = deque()
        self._outgoing: list[bytes] = []
        self._pending: deque[tuple[Stage, Callable[[Reply], None]]] = deque([(Stage.GREETING, self._greeted)])
        self._resting = Stage.GREETING  # the stage while no reply is pending
        self._unsent = 0  # how many of the last ones pending are still in `_outgoing`
        self._open_transaction = False  # the hop has an unfinished one of ours: RSET comes first
        self._transaction: Transaction | None = None
        self._begun = 0  # transactions
        self.most_recipients: int | None = None  # how many a transaction may have; None: the hop has not said
        self._most_transactions: int | None = None

    @property
    def stage(self) -> Stage:
        if self.closed:
            return Stage.CLOSED
        return self._pending[0][0] if self._pending else self._resting

    @property
    def used_up(self) -> bool:
        """Whether the hop takes no further transaction in this session."""
        return self._most_transactions is not None and self._begun >= self._most_transactions

    # Octets in, octets and events out

    def receive(self, data: bytes) -> None:
        """Octets of the hop, split anyhow."""
        if self.closed:  # what it still says is not kept, however much it is
            return
        try:
            self._reader.feed(data)
            while not self.closed and (reply := self._reader.next_reply()) is not None:
                self._take(reply)
        except ProtocolError as error:
            self._broken(error, self.stage)

    def data_to_send(self) -> bytes:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self._unsent = 0
        return data

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def connection_lost(self, how: str) -> None:
        """The connection is gone, or has to go; `how` begins the sentence: "connection lost", "timed out"."""
        if not self.closed:
            self._end(0, "4.4.2", f"{how} {self.stage.value}", lost=self.stage)

    def _take(self, reply: Reply) -> None:
        self.replies += 1
        stage = self.stage
        if reply.code == 421:  # RFC 5321 section 3.8: in place of any reply, and the hop closes
            self._end(reply.code, reply.enhanced, "the hop ended the session" if stage is Stage.AUTH else reply.text)
        elif len(self._pending) > self._unsent:
            self._answer(*self._pending.popleft(), reply)
        elif stage is Stage.BODY and reply.code >= 400:
            # The hop gave up before the final dot (too large, disk full); its words would be lost with the connection.
            self._decide(verdict(reply))
            self._end(0, "", "")
        else:
            raise ProtocolError("a reply that nothing asked for")

    def _answer(self, stage: Stage, answered: Callable[[Reply], None], reply: Reply) -> None:
        try:
            answered(reply)
            self._advance()
        except ProtocolError as error:
            self._broken(error, stage)

    def _command(self, stage: Stage, line: str, answered: Callable[[Reply], None]) -> None:
        octets = line.encode("utf-8")
        if b"\r" in octets or b"\n" in octets:
            raise ValueError(f"line end inside {stage.name}")
        self._outgoing.append(octets + b"\r\n")
        self._expect(stage, answered)

    def _expect(self, stage: Stage, answered: Callable[[Reply], None]) -> None:
        self._pending.append((stage, answered))
        self._unsent += 1

    def _broken(self, error: ProtocolError, stage: Stage) -> None:
        self._end(0, "4.5.0", f"The next hop broke the protocol: {error}", lost=stage)

    def _end(self, code: int, enhanced: str, text: str, *, lost: Stage | None = None) -> None:
        """Close, giving whoever waits for an event the last one. `lost`: the stage whose reply will never be known."""
        stage = self.stage
        self._pending.clear()
        self._outgoing.clear()
        self.closed = True
        if self._transaction is not None:
            self._decide(Verdict("retry", code, enhanced, text[:MAX_TEXT]))
            self._finish(lost_after_dot=lost is Stage.DOT)
        elif stage in SETUP:
            self._events.append(Unusable(code, enhanced if code else "", text[:MAX_TEXT]))

    # Setting up

    def _greeted(self, reply: Reply) -> None:
        if not self._refused(reply, "greeting"):
            self._command(Stage.HELLO, f"EHLO {self._settings.hostname}", self._hello_answered)

    def _hello_answered(self, reply: Reply) -> None:
        needs_extensions = self._settings.starttls == "required" or self._settings.user
        if reply.code >= 500 and not self._encrypted and not needs_extensions:  # RFC 5321 section 3.2
            self._command(Stage.HELLO, f"HELO {self._settings.hostname}", self._helo_answered)
        elif not self._refused(reply, "EHLO"):
            self._name(reply)
            self.extensions = dict(_extension(line) for line in reply.lines[1:])
            self.most_recipients = limit(self.extensions, "RCPTMAX")
            self._most_transactions = limit(self.extensions, "MAILMAX")
            self._secure()

    def _helo_answered(self, reply: Reply) -> None:
        if not self._refused(reply, "HELO"):
            self._name(reply)
            self._ready()

    def _name(self, reply: Reply) -> None:
        self.remote = reply.lines[0].split(" ", 1)[0][:255]

    def _secure(self) -> None:
        if self._encrypted or self._settings.starttls == "never":
            self._sign_in()
        elif "STARTTLS" in self.extensions:
            self._command(Stage.STARTTLS, "STARTTLS", self._starttls_answered)
        elif self._settings.starttls == "required":
            self._end(0, "", "hop does not offer STARTTLS")
        else:
            self._sign_in()

    def _starttls_answered(self, reply: Reply) -> None:
        if reply.code >= 400 and self._settings.starttls == "offered":
            self._sign_in()
        elif not self._refused(reply, "STARTTLS"):
            if not self._reader.empty:  # someone in the middle put words into the TLS session (CVE-2011-0411)
                raise ProtocolError("input in clear after STARTTLS")
            self._resting = Stage.HANDSHAKE
            self._events.append(StartTls())

    def tls_started(self) -> None:
        """TLS runs: EHLO again, whose answer replaces what was learned in clear (RFC 3207 section 4.2)."""
        self._encrypted = True
        self._command(Stage.HELLO, f"EHLO {self._settings.hostname}", self._hello_answered)

    def _sign_in(self) -> None:
        settings = self._settings
        mechanisms = self.extensions.get("AUTH", "").upper().split()
        if not settings.user:
            self._ready()
        elif not self._encrypted and not settings.clear_auth:
            self._end(0, "", "hop offers no TLS, and the password does not go in clear")
        elif "PLAIN" in mechanisms:  # RFC 4616
            response = _base64(f"\0{settings.user}\0{settings.password}")
            self._command(Stage.AUTH, f"AUTH PLAIN {response}", self._signed_in)
        elif "LOGIN" in mechanisms:
            answer = partial(self._challenged, [settings.user, settings.password])
            self._command(Stage.AUTH, "AUTH LOGIN", answer)
        else:
            self._end(0, "", "hop offers neither AUTH PLAIN nor AUTH LOGIN")

    def _challenged(self, answers: list[str], reply: Reply) -> None:
        if reply.code != 334:
            self._signed_in(reply)
        else:
            rest = answers[1:]
            answered = partial(self._challenged, rest) if rest else self._signed_in
            self._command(Stage.AUTH, _base64(answers[0]), answered)

    def _signed_in(self, reply: Reply) -> None:
        if reply.code == 235:
            self._ready()
        else:  # without the hop's words: some servers repeat the command they refuse, and with it the password
            self._end(reply.code, reply.enhanced, "hop refused our sign-in")

    def _refused(self, reply: Reply, what: str) -> bool:
        """Close unless the reply is 2xx."""
        if 300 <= reply.code < 400:
            raise ProtocolError(f"{reply.code} to {what}")
        if reply.code >= 400:
            self._end(reply.code, reply.enhanced, f"hop refused {what}: {reply.text}")
        return reply.code >= 400

    def _ready(self) -> None:
        self._resting = Stage.IDLE
        self._events.append(Ready())

    # A transaction

    def begin(self, transaction: Transaction) -> None:
        """Start a transaction; the session is at rest. Recipients that this hop cannot take are decided unasked."""
        self._transaction = transaction
        self._verdicts = refusals(transaction, self.extensions)
        self._accepted: list[int] = []  # positions of recipients that got 2xx
        self._mail_answered = False
        self._script: deque[tuple[Stage, str, Callable[[Reply], None]]] = deque()
        asked = [i for i, decided in enumerate(self._verdicts) if decided is None]
        if self.closed:
            self._decide(Verdict("retry", 0, "4.4.2", "connection lost between transactions"))
        if None not in self._verdicts:
            self._finish()
            return
        self._begun += 1
        if self._open_transaction:
            self._script.append((Stage.RSET, "RSET", self._reset_answered))
        self._script.append((Stage.MAIL, mail_command(transaction, self.extensions), self._mail_reply))
        for i in asked:
            command = rcpt_command(transaction.recipients[i], self.extensions)
            self._script.append((Stage.RCPT, command, partial(self._rcpt_reply, i)))
        self._script.append((Stage.DATA, "DATA", self._data_reply))
        self._advance()

    def _advance(self) -> None:
        """Send what may be sent of the transaction's commands; finish it when the rest has lost its purpose."""
        if self._transaction is None or not self._script:
            return
        if "PIPELINING" in self.extensions:
            while self._script:
                self._command(*self._script.popleft())
        elif not self._pending:
            only_data_left = self._script[0][0] is Stage.DATA
            if None not in self._verdicts or (only_data_left and not self._accepted):
                self._script.clear()
                self._finish()
            else:
                self._command(*self._script.popleft())

    def _reset_answered(self, reply: Reply) -> None:
        if reply.code >= 300:
            raise ProtocolError(f"{reply.code} to RSET")
        self._open_transaction = False

    def _mail_reply(self, reply: Reply) -> None:
        self._mail_answered = True
        if reply.code < 300:
            self._open_transaction = True
        else:
            self._decide(verdict(reply))

    def _rcpt_reply(self, position: int, reply: Reply) -> None:
        if self._verdicts[position] is not None:  # MAIL was refused; pipelined RCPTs are refused for that alone
            return
        if reply.code < 300:
            self._accepted.append(position)
        else:
            self._verdicts[position] = rcpt_verdict(reply)

    def _data_reply(self, reply: Reply) -> None:
        if reply.code < 300:
            raise ProtocolError(f"{reply.code} to DATA")
        if reply.code >= 400:
            self._decide(verdict(reply))
            self._finish()
        elif not self._accepted or None not in self._verdicts:
            # RFC 2920 section 3.1: 354 though nobody is left to send to; nothing but the dot goes out
            self._command(Stage.DOT, ".", self._empty_message_answered)
        else:
            self._stuffer = Stuffer()
            self._resting = Stage.BODY
            self._events.append(SendBody())

    def send_body(self, block: bytes) -> None:
        """A block of the message, whose lines end in CRLF; ignored once the transaction is decided."""
        if self.stage is Stage.BODY:
            self._outgoing.append(self._stuffer.stuff(block))

    def end_body(self) -> None:
        if self.stage is Stage.BODY:
            self._resting = Stage.IDLE
            self._outgoing.append(self._stuffer.end())
            self._expect(Stage.DOT, self._message_answered)

    def _message_answered(self, reply: Reply) -> None:
        self._open_transaction = False
        self._decide(delivered(reply, self.extensions) if reply.code < 300 else verdict(reply))
        self._finish()

    def _empty_message_answered(self, _reply: Reply) -> None:
        self._open_transaction = False
        self._finish()

    def _decide(self, decided: Verdict) -> None:
        """Give the verdict to every recipient that has none yet."""
        self._verdicts = [decided if one is None else one for one in self._verdicts]

    def _finish(self, *, lost_after_dot: bool = False) -> None:
        verdicts = tuple(one for one in self._verdicts if one is not None)
        self._transaction = None
        self._events.append(Finished(verdicts, self._mail_answered, lost_after_dot))

    def quit(self) -> None:
        """Say goodbye; the session is at rest."""
        self._command(Stage.QUIT, "QUIT", self._quit_answered)

    def _quit_answered(self, _reply: Reply) -> None:
        self._end(0, "", "")


def _extension(line: str) -> tuple[str, str]:
    """`ehlo-keyword *( SP ehlo-param )`; "AUTH=" is how servers before RFC 2554 wrote it, and some still do."""
    if line[:5].upper() == "AUTH=":
        line = f"AUTH {line[5:]}"
    keyword, _, parameters = line.partition(" ")
    return keyword.upper(), parameters.strip()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
