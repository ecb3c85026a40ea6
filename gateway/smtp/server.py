"""Our side of an SMTP session, without I/O: bytes in, events out, replies in, bytes out.

Theory of operation. `receive_data` only stores; `next_event` reads the buffer as far as one event and then
stops until that event is `answer`ed, so replies come in order however slow a decision is, and pipelining
(RFC 2920) is nothing but a buffer that is not empty. What the grammar or the order of commands refuses is
answered here and never becomes an event. Which command is allowed when stands in one table, commands.py: a
command in another state gets the reply that the table names for it. Body octets are read by one of two
readers (framing.py), and BDAT chunks are consumed whole whatever was wrong with the command, so that no
part of a message is ever run as a command (RFC 3030 section 2).

    START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA--> (body) --> READY
                                                    \\--BDAT--> CHUNKS --BDAT LAST--> READY
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway import reply
from gateway.errors import Refused
from gateway.reply import Reply
from gateway.smtp import events, grammar, sasl
from gateway.smtp.commands import FOREIGN, IN_TRANSACTION, MAX_LINE, RULES, Rule, SessionSettings, State
from gateway.smtp.events import Event
from gateway.smtp.framing import (
    BareLineEnd,
    BodyCounter,
    ChunkJoiner,
    ChunkReader,
    DotReader,
    LineReader,
    LineTooLong,
)

_JUNK_ALLOWED = 100  # commands that move nothing forward before each counts as an error (Postfix: smtpd_junk_command_limit)


@dataclass(slots=True)
class _Message:
    """A message on its way in."""

    counter: BodyCounter
    joiner: ChunkJoiner
    dots: DotReader | None = None


@dataclass(slots=True)
class _Chunk:
    """A BDAT chunk on its way in. `refusal` is what its command got; its octets are read over then."""

    reader: ChunkReader
    octets: int
    last: bool
    refusal: Reply | None


class ServerSession:
    """One session. `on_reply(verb, reply)` hears of every reply to a command, for counting; it must not raise."""

    def __init__(self, settings: SessionSettings, on_reply: Callable[[str, Reply], None] | None = None) -> None:
        self._settings = settings
        self._on_reply = on_reply or (lambda verb, said: None)
        self._buffer = bytearray()
        self._out = bytearray()
        self._lines = LineReader(self._buffer, MAX_LINE)
        self._state = State.START
        self._verb = ""
        self._asked: Event | None = None
        self._sasl: tuple[sasl.Mechanism, str, list[bytes]] | None = None
        self._smtputf8 = False
        self._message: _Message | None = None
        self._chunk: _Chunk | None = None
        self._errors = self._junk = self._auth_failures = self._messages = 0
        self.tls = settings.implicit_tls
        self.signed_in = False
        self.closing = False
        self._out += reply.greeting(settings.hostname).encode()

    # What the driver calls

    def receive_data(self, data: bytes) -> None:
        """Store what the peer sent; nothing is kept of a session that is over."""
        if not self.closing:
            self._buffer += data

    def next_event(self) -> Event | None:
        """The next event to answer, or None: more octets must come first, an event is unanswered, or all is over."""
        while self._asked is None and not self.closing:
            before = len(self._out), len(self._buffer)
            event = self._advance()
            if event is not None:
                self._asked = None if isinstance(event, events.StartTls) else event
                return event
            if (len(self._out), len(self._buffer)) == before:
                return None
        return None

    def answer(self, said: Reply | None) -> None:
        """Answer the event that `next_event` gave: None for BodyPart, a Reply for every other."""
        asked, self._asked = self._asked, None
        if self.closing or asked is None:
            return
        if said is not None:
            self._settle(asked, said)

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    def tls_started(self) -> None:
        """TLS is on: the session starts over, whatever was said before (RFC 3207 section 4.2)."""
        self._buffer.clear()
        self._lines = LineReader(self._buffer, MAX_LINE)
        self.tls = True
        self._state = State.START
        self.signed_in = False

    def close(self, said: Reply) -> None:
        """End the session from our side with an unasked-for reply (421, RFC 5321 section 3.8)."""
        if not self.closing:
            self._out += said.encode()
            self._finish()

    @property
    def verb(self) -> str:
        """The command at hand, for counting: one of `commands.RULES`, or "UNKNOWN"."""
        return self._verb

    @property
    def in_transaction(self) -> bool:
        """Between MAIL and the reply to its message."""
        return self._state in IN_TRANSACTION

    @property
    def in_body(self) -> bool:
        """Whether what comes next is a part of a message that is wanted."""
        return self._message is not None and (self._chunk is not None or self._message.dots is not None)

    @property
    def held(self) -> int:
        """Octets received and not yet read."""
        return len(self._buffer)

    # Reading

    def _advance(self) -> Event | None:
        """One step: a line, or a part of a body. None when it led to no event, or there was nothing to read."""
        if self._chunk is not None:
            return self._read_chunk(self._chunk)
        try:
            if self._message is not None and self._message.dots is not None:
                return self._read_dots(self._message.counter, self._message.dots)
            line = self._lines.take()
            return None if line is None else self._read_line(line)
        except BareLineEnd:
            self._verb = "UNKNOWN"
            self._say(reply.BARE_LINE_END)
        except LineTooLong as too_long:
            self._verb = "UNKNOWN"
            self._sasl = None
            self._say(too_long.reply)
        except Refused as refused:
            self._say(refused.reply)
        return None

    def _read_line(self, line: bytes) -> Event | None:
        if self._sasl is not None:
            return self._sasl_response(line)
        self._verb = "UNKNOWN"
        command = grammar.command(line)
        rule = RULES.get(command.verb)
        if rule is None:
            raise Refused(reply.NOT_SMTP if command.verb in FOREIGN else reply.BAD_COMMAND)
        self._verb = command.verb
        if rule.junk:
            self._count_junk()
        if len(line) + 2 > rule.limit:
            raise Refused(reply.BAD_CHUNK_SIZE if command.verb == "BDAT" else reply.LINE_TOO_LONG)
        if command.argument and not rule.argument:
            raise Refused(reply.NO_ARGUMENTS)
        refusal = self._out_of_order(rule)
        if command.verb == "BDAT":
            return self._bdat(command.argument, refusal)
        if refusal is not None:
            raise Refused(refusal)
        if not rule.run:
            self._say(rule.says)
            return None
        run: Callable[[bytes], Event | None] = getattr(self, rule.run)
        return run(command.argument)

    def _out_of_order(self, rule: Rule) -> Reply | None:
        """What `rule` says in the present state, if it is not one of its own."""
        if rule.signed_in and not self.signed_in and self._state is not State.START:
            return reply.SIGN_IN_FIRST if self._may_auth() else reply.TLS_FIRST
        return rule.wrong.get(self._state)

    def _may_auth(self) -> bool:
        return self.tls or self._settings.plaintext_auth

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > _JUNK_ALLOWED:
            self._errors += 1

    def _read_dots(self, counter: BodyCounter, dots: DotReader) -> Event | None:
        block = b"" if dots.done else dots.take()
        if counter.octets > self._settings.octets:
            raise Refused(reply.ENDLESS_MESSAGE)
        if block:
            return events.BodyPart(block)
        return self._body_end(counter) if dots.done else None

    def _read_chunk(self, chunk: _Chunk) -> Event | None:
        block = chunk.reader.take()
        if chunk.refusal is not None or self._message is None:
            if chunk.reader.done:
                self._chunk = None
                self._say(chunk.refusal or reply.BDAT_REFUSED)
            return None
        if block:
            cleaned = self._message.joiner.take(block)
            return events.BodyPart(cleaned) if cleaned else None
        if not chunk.reader.done:
            return None
        if not chunk.last:
            return events.ChunkEnd(chunk.octets)
        rest = self._message.joiner.finish()
        return events.BodyPart(rest) if rest else self._body_end(self._message.counter)

    def _body_end(self, counter: BodyCounter) -> Event:
        return events.BodyEnd(counter.octets, counter.bare_cr, counter.bare_lf, counter.nul, counter.eight_bit)

    # Commands

    def _hello(self, argument: bytes) -> Event:
        return events.Hello(grammar.hello(argument), self._verb == "EHLO", self._keywords())

    def _keywords(self) -> tuple[str, ...]:
        """The extensions that this state offers (RFC 5321 section 4.1.1.1); SIZE and LIMITS depend on the account."""
        offered = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        if self._settings.starttls and not self.tls:
            offered.append("STARTTLS")
        if self._may_auth() and not self.signed_in:
            offered.append("AUTH " + " ".join(sasl.MECHANISMS))
        return tuple(offered)

    def _starttls(self, argument: bytes) -> Event | None:
        if self.tls:
            raise Refused(reply.ALREADY_TLS)
        if not self._settings.starttls:
            raise Refused(reply.NO_TLS)
        self._buffer.clear()  # commands that came in clear behind STARTTLS are not run inside TLS (CVE-2011-0411)
        self._say(reply.START_TLS)
        return events.StartTls()

    def _auth(self, argument: bytes) -> Event | None:
        if self.signed_in:
            raise Refused(reply.ALREADY_SIGNED_IN)
        if not self._may_auth():
            raise Refused(reply.TLS_FOR_AUTH if self._settings.starttls else reply.AUTH_NOT_OFFERED)
        name, initial = grammar.auth(argument)
        mechanism = sasl.MECHANISMS.get(name)
        if mechanism is None:
            raise Refused(reply.UNKNOWN_MECHANISM)
        self._sasl = mechanism, name, []
        return self._sasl_step() if initial is None else self._sasl_response(initial)

    def _sasl_response(self, line: bytes) -> Event | None:
        assert self._sasl is not None
        try:
            if line == b"*":
                raise Refused(reply.AUTH_CANCELLED)
            self._sasl[2].append(sasl.decode(line))
            return self._sasl_step()
        except sasl.Malformed:
            self._sasl = None
            raise Refused(reply.BAD_BASE64) from None
        except Refused:
            self._sasl = None
            raise

    def _sasl_step(self) -> Event | None:
        assert self._sasl is not None
        mechanism, name, responses = self._sasl
        step = mechanism(responses)
        if isinstance(step, sasl.Challenge):
            self._out += reply.challenge(step.text).encode()
            return None
        self._sasl = None
        return events.Authenticate(name, step.login, step.password)

    def _mail(self, argument: bytes) -> Event:
        if self._messages >= self._settings.messages:
            raise Refused(reply.TOO_MANY_MESSAGES)
        event = grammar.mail(argument)
        self._smtputf8 = event.smtputf8
        return event

    def _rcpt(self, argument: bytes) -> Event:
        return grammar.rcpt(argument, self._smtputf8)

    def _data(self, argument: bytes) -> Event:
        return events.BodyStart(chunked=False)

    def _bdat(self, argument: bytes, refusal: Reply | None) -> Event | None:
        octets, last = grammar.bdat(argument)
        if octets > (self._settings.octets if self.signed_in else self._settings.octets_unknown):
            raise Refused(reply.ENDLESS_MESSAGE)  # not even read over
        if not octets and not last:
            self._count_junk()
        self._chunk = _Chunk(ChunkReader(self._buffer, octets), octets, last, refusal)
        return events.BodyStart(chunked=True) if self._state is State.RCPT else None

    def _rset(self, argument: bytes) -> Event:
        return events.Reset()

    def _vrfy(self, argument: bytes) -> None:
        self._say(reply.CANNOT_VERIFY if argument else reply.BAD_SYNTAX)

    # Answers

    def _settle(self, asked: Event, said: Reply) -> None:
        """Move on by the answer to an event."""
        match asked:
            case events.Hello():
                if said.positive:
                    self._end_transaction(State.READY)
                self._say(said)
            case events.Reset():
                self._end_transaction(State.START if self._state is State.START else State.READY)
                self._say(said)
            case events.Authenticate():
                self._auth_answered(said)
            case events.MailFrom():
                self._state = State.MAIL if said.positive else self._state
                self._say(said)
            case events.RcptTo():
                self._state = State.RCPT if said.positive else self._state
                self._say(said)
            case events.BodyStart(chunked=chunked):
                self._body_answered(said, chunked)
            case events.ChunkEnd():
                self._chunk = None
                if not said.positive:
                    self._end_transaction(State.READY)
                self._say(said)
            case events.BodyEnd():
                self._messages += said.positive
                self._junk = 0
                self._end_transaction(State.READY)
                self._say(said)

    def _auth_answered(self, said: Reply) -> None:
        self._verb = "AUTH"
        if said.positive:
            self.signed_in = True
            self._junk = 0
        self._auth_failures += said in (reply.WRONG_LOGIN, reply.AUTH_UNAVAILABLE)
        self._say(said)
        if self._auth_failures >= self._settings.auth_failures:
            self.close(reply.TOO_MANY_FAILED_SIGN_INS)

    def _body_answered(self, said: Reply, chunked: bool) -> None:
        if not said.positive:
            if self._chunk is not None:  # a later chunk must not begin a message that lacks this one
                self._chunk.refusal = said
                self._state = State.READY
            else:
                self._say(said)
            return
        counter = BodyCounter()
        self._message = _Message(counter, ChunkJoiner(counter))
        if chunked:
            self._state = State.CHUNKS
        else:
            self._say(said)
            self._message.dots = DotReader(self._buffer, counter)

    def _end_transaction(self, state: State) -> None:
        self._state = state
        self._message = None
        self._chunk = None

    def _say(self, said: Reply) -> None:
        """Reply to the command at hand; count it; end the session when the reply or the count says so."""
        self._out += said.encode()
        self._on_reply(self._verb, said)
        if said.close:
            self._finish()
            return
        self._errors += said.code >= 500 and said.code != reply.WRONG_LOGIN.code
        if self._errors >= self._settings.errors:
            self.close(reply.TOO_MANY_ERRORS)

    def _finish(self) -> None:
        self.closing = True
        self._buffer.clear()
        self._end_transaction(State.START)
