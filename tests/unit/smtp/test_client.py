"""ClientSession as a dialogue: what the hop says, what we say, and the verdict of each recipient."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.client import ClientSession
from gateway.smtp.client_events import ClientSettings, Finished, Ready, SendBody, Stage, StartTls, Unusable
from gateway.smtp.reply_reader import MAX_LINE, MAX_LINES
from gateway.smtp.stuffing import Stuffer
from gateway.smtp.transaction import To, Transaction, Verdict

GREETING = b"220 hop.example ESMTP\r\n"
PLAIN_EHLO = b"250 hop.example\r\n"
PIPELINING_EHLO = b"250-hop.example\r\n250 PIPELINING\r\n"
SETTINGS = ClientSettings("gw.example")
ONE = Transaction("a@x.example", (To("b@y.example"),), 20)
THREE = Transaction("a@x.example", tuple(To(f"{name}@y.example") for name in "bcd"), 20)
BODY = b"Subject: s\r\n\r\n.dot\r\n"


@dataclass
class Hop:
    """Feeds replies, one answer for each command sent, to the session; collects what came out."""

    session: ClientSession
    sent: bytes = b""
    events: list[object] = field(default_factory=list)

    def say(self, data: bytes, step: int = 0) -> None:
        """Octets of the hop, in pieces of `step`, never beyond 354; the driver's part is played at each event."""
        before, go, after = data.partition(GO)
        for part in (before + go, after):
            for piece in [part[i : i + step] for i in range(0, len(part), step)] if step else [part]:
                self.session.receive(piece)
                self.pump()

    def pump(self) -> None:
        self.sent += self.session.data_to_send()
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, StartTls):
                self.sent += b"<TLS>"
                self.session.tls_started()
            if isinstance(event, SendBody):
                self.session.send_body(BODY)
                self.session.end_body()
            self.sent += self.session.data_to_send()

    def begin(self, transaction: Transaction) -> None:
        self.session.begin(transaction)
        self.pump()

    @property
    def finished(self) -> Finished:
        last = self.events[-1]
        assert isinstance(last, Finished), self.events
        return last


def opened(ehlo: bytes = PLAIN_EHLO, settings: ClientSettings = SETTINGS) -> Hop:
    hop = Hop(ClientSession(settings))
    hop.say(GREETING)
    hop.say(ehlo)
    assert hop.events == [Ready()]
    hop.sent, hop.events = b"", []
    return hop


def results(hop: Hop) -> list[tuple[str, int, str]]:
    return [(verdict.result, verdict.code, verdict.enhanced) for verdict in hop.finished.verdicts]


OK = b"250 2.1.0 fine\r\n"
GO = b"354 go\r\n"
TAKEN = ("delivered", 250, "2.0.0")
QUEUED = b"250 2.0.0 queued\r\n"

# replies to MAIL, RCPT b, RCPT c, RCPT d, DATA, final dot; then what becomes of b, c, d
STAGES: list[tuple[str, Sequence[bytes], list[tuple[str, int, str]]]] = [
    ("all taken", [OK, OK, OK, OK, GO, QUEUED], [TAKEN] * 3),
    (
        "MAIL 4xx",
        [b"451 4.3.0 later\r\n", b"503 5.5.1 no\r\n", b"503 no\r\n", b"503 no\r\n", b"503 no\r\n"],
        [("retry", 451, "4.3.0")] * 3,
    ),
    (
        "MAIL 5xx",
        [b"550 5.7.1 no\r\n", b"503 5.5.1 no\r\n", b"503 no\r\n", b"503 no\r\n", b"503 no\r\n"],
        [("failed", 550, "5.7.1")] * 3,
    ),
    (
        "some recipients",
        [OK, b"550 5.1.1 nobody\r\n", OK, b"450 4.2.0 busy\r\n", GO, QUEUED],
        [("failed", 550, "5.1.1"), TAKEN, ("retry", 450, "4.2.0")],
    ),
    (
        "552 at RCPT is 452",
        [OK, OK, b"552 5.5.3 many\r\n", b"552 many\r\n", GO, QUEUED],
        [TAKEN, ("retry", 452, "4.5.3"), ("retry", 452, "")],
    ),
    (
        "no recipient, DATA refused",
        [OK, b"550 5.1.1 n\r\n", b"550 5.1.1 n\r\n", b"451 4.2.0 n\r\n", b"554 5.5.1 none\r\n"],
        [("failed", 550, "5.1.1"), ("failed", 550, "5.1.1"), ("retry", 451, "4.2.0")],
    ),
    (
        "DATA 4xx",
        [OK, OK, b"550 5.1.1 n\r\n", OK, b"451 4.3.0 no\r\n"],
        [("retry", 451, "4.3.0"), ("failed", 550, "5.1.1"), ("retry", 451, "4.3.0")],
    ),
    ("DATA 5xx", [OK, OK, OK, OK, b"554 5.5.0 no\r\n"], [("failed", 554, "5.5.0")] * 3),
    ("dot 4xx", [OK, OK, OK, OK, GO, b"452 4.3.1 full\r\n"], [("retry", 452, "4.3.1")] * 3),
    (
        "dot 5xx",
        [OK, b"450 busy\r\n", OK, OK, GO, b"554 5.7.1 spam\r\n"],
        [("retry", 450, ""), ("failed", 554, "5.7.1"), ("failed", 554, "5.7.1")],
    ),
    ("enhanced code of another class is text", [OK, OK, OK, OK, GO, b"550 2.0.0 odd\r\n"], [("failed", 550, "")] * 3),
    ("three lines", [OK, OK, OK, OK, GO, b"250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n"], [TAKEN] * 3),
    ("code alone", [OK, OK, OK, OK, GO, b"250\r\n"], [("delivered", 250, "")] * 3),
]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
@pytest.mark.parametrize(("name", "replies", "expected"), STAGES, ids=[name for name, _, _ in STAGES])
def test_stages(name: str, replies: Sequence[bytes], expected: list[tuple[str, int, str]], step: int, pipelining: bool) -> None:
    hop = opened(PIPELINING_EHLO if pipelining else PLAIN_EHLO)
    hop.begin(THREE)
    if pipelining:
        assert hop.sent.count(b"\r\n") == 5
        hop.say(b"".join(replies), step)
        assert not hop.session.closed
    else:
        for reply in replies:
            if any(isinstance(event, Finished) for event in hop.events):
                break  # not pipelined, what has lost its purpose is never sent
            asked = hop.sent
            hop.say(reply, step)
            assert hop.sent != asked or isinstance(hop.events[-1], Finished)
    assert results(hop) == expected
    assert hop.finished.mail_answered
    assert hop.session.stage is Stage.IDLE
    assert len(hop.events) == len({type(event) for event in hop.events})


def test_not_pipelined_goes_one_by_one() -> None:
    hop = opened()
    hop.begin(THREE)
    said = [hop.sent]
    for reply in [OK, OK, b"550 no\r\n", OK, GO]:
        hop.sent = b""
        hop.say(reply)
        said.append(hop.sent)
    assert said == [
        b"MAIL FROM:<a@x.example>\r\n",
        b"RCPT TO:<b@y.example>\r\n",
        b"RCPT TO:<c@y.example>\r\n",
        b"RCPT TO:<d@y.example>\r\n",
        b"DATA\r\n",
        b"Subject: s\r\n\r\n..dot\r\n.\r\n",
    ]


def test_pipelined_goes_at_once() -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(ONE)
    assert hop.sent == b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"


def test_354_with_nobody_left_gets_a_dot_alone() -> None:
    """RFC 2920 section 3.1; the reply to the dot says nothing about anybody."""
    hop = opened(PIPELINING_EHLO)
    hop.begin(ONE)
    hop.sent = b""
    hop.say(OK + b"550 5.1.1 nobody\r\n" + GO)
    assert hop.sent == b".\r\n"
    assert hop.events == []
    hop.say(b"250 2.0.0 taken\r\n")
    assert results(hop) == [("failed", 550, "5.1.1")]


def test_354_after_refused_mail_sends_no_message() -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(ONE)
    hop.sent = b""
    hop.say(b"550 5.7.1 not you\r\n" + OK + GO + b"250 ok\r\n")
    assert hop.sent == b".\r\n"
    assert results(hop) == [("failed", 550, "5.7.1")]


@pytest.mark.parametrize("ehlo", [PLAIN_EHLO, PIPELINING_EHLO])
def test_rset_comes_after_a_transaction_without_end(ehlo: bytes) -> None:
    hop = opened(ehlo)
    hop.begin(ONE)
    for reply in (OK, b"550 5.1.1 nobody\r\n", *([b"503 no\r\n"] if ehlo == PIPELINING_EHLO else [])):
        hop.say(reply)
    assert results(hop) == [("failed", 550, "5.1.1")]
    hop.sent = b""
    hop.begin(ONE)
    if ehlo == PLAIN_EHLO:
        assert hop.sent == b"RSET\r\n"
        hop.say(OK)
    assert hop.sent.startswith(b"RSET\r\nMAIL FROM:")
    if ehlo == PIPELINING_EHLO:
        hop.say(OK + OK + OK + GO + QUEUED)
    else:
        for reply in (OK, OK, GO, QUEUED):
            hop.say(reply)
    assert results(hop) == [TAKEN]
    hop.sent = b""
    hop.begin(ONE)
    assert hop.sent.startswith(b"MAIL FROM:")  # a finished transaction needs none


def test_two_messages_then_quit() -> None:
    hop = opened(PIPELINING_EHLO)
    for _ in range(2):
        hop.begin(ONE)
        hop.say(OK + OK + GO + QUEUED)
        assert results(hop) == [TAKEN]
    hop.session.quit()
    hop.pump()
    assert hop.sent.endswith(b"QUIT\r\n")
    hop.say(b"221 bye\r\n")
    assert hop.session.closed
    assert sum(isinstance(event, Finished) for event in hop.events) == 2


EXTENSIONS: list[tuple[bytes, Transaction, bytes, bytes]] = [
    (b"250-h\r\n250 SIZE 1000\r\n", ONE, b"MAIL FROM:<a@x.example> SIZE=20", b"RCPT TO:<b@y.example>"),
    (b"250-h\r\n250 SIZE\r\n", ONE, b"MAIL FROM:<a@x.example> SIZE=20", b"RCPT TO:<b@y.example>"),
    (b"250-h\r\n250 size 0\r\n", ONE, b"MAIL FROM:<a@x.example> SIZE=20", b"RCPT TO:<b@y.example>"),
    (
        b"250-h\r\n250 8BITMIME\r\n",
        replace(ONE, eight_bit=True),
        b"MAIL FROM:<a@x.example> BODY=8BITMIME",
        b"RCPT TO:<b@y.example>",
    ),
    (b"250-h\r\n250 8BITMIME\r\n", ONE, b"MAIL FROM:<a@x.example>", b"RCPT TO:<b@y.example>"),
    (b"250-h\r\n250 SMTPUTF8\r\n", replace(ONE, smtputf8=True), b"MAIL FROM:<a@x.example> SMTPUTF8", b"RCPT TO:<b@y.example>"),
    (b"250 h\r\n", replace(ONE, smtputf8=True), b"MAIL FROM:<a@x.example>", b"RCPT TO:<b@y.example>"),
    (
        b"250-h\r\n250 DSN\r\n",
        Transaction("", (To("b@y.example", "SUCCESS,FAILURE", "rfc822;b+2B@y.example"),), 20, ret="HDRS", envid="x1"),
        b"MAIL FROM:<> RET=HDRS ENVID=x1",
        b"RCPT TO:<b@y.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2B@y.example",
    ),
    (
        b"250 h\r\n",
        Transaction("", (To("b@y.example", "NEVER", "rfc822;b@y.example"),), 20, ret="FULL", envid="x1"),
        b"MAIL FROM:<>",
        b"RCPT TO:<b@y.example>",
    ),
    (
        b"250-h\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
        Transaction("ä@x.example", (To("ö@y.example"),), 20, smtputf8=True, eight_bit=True),
        "MAIL FROM:<ä@x.example> BODY=8BITMIME SMTPUTF8".encode(),
        "RCPT TO:<ö@y.example>".encode(),
    ),
    (
        b"250-h\r\n250-SMTPUTF8\r\n250 DSN\r\n",
        Transaction("a@x.example", (To("b@y.example", orcpt="utf-8;ö@y.example"),), 20, smtputf8=True),
        b"MAIL FROM:<a@x.example> SMTPUTF8",
        "RCPT TO:<b@y.example> ORCPT=utf-8;ö@y.example".encode(),
    ),
    (  # RFC 6533 section 3: the same in ASCII
        b"250-h\r\n250 DSN\r\n",
        Transaction("a@x.example", (To("b@y.example", orcpt="utf-8;ö\U0001f4e7@y.example"),), 20),
        b"MAIL FROM:<a@x.example>",
        b"RCPT TO:<b@y.example> ORCPT=utf-8;\\x{F6}\\x{1F4E7}@y.example",
    ),
]


@pytest.mark.parametrize(("ehlo", "transaction", "mail", "rcpt"), EXTENSIONS)
def test_parameters_only_where_offered(ehlo: bytes, transaction: Transaction, mail: bytes, rcpt: bytes) -> None:
    hop = opened(ehlo)
    hop.begin(transaction)
    hop.say(OK)
    assert hop.sent == mail + b"\r\n" + rcpt + b"\r\n"


@pytest.mark.parametrize("offered", [True, False])
def test_dsn_relayed_only_where_offered(offered: bool) -> None:
    hop = opened(b"250-h\r\n250-DSN\r\n250 PIPELINING\r\n" if offered else PIPELINING_EHLO)
    hop.begin(ONE)
    hop.say(OK + OK + GO + QUEUED)
    assert [verdict.relayed_dsn for verdict in hop.finished.verdicts] == [offered]


UNASKED: list[tuple[bytes, Transaction, list[str]]] = [
    (b"250-h\r\n250 SIZE 19\r\n", ONE, ["5.3.4"]),
    (b"250 h\r\n", replace(ONE, eight_bit=True), ["5.6.3"]),
    (b"250 h\r\n", replace(ONE, smtputf8=True, utf8_header=True), ["5.6.9"]),
    (b"250 h\r\n", replace(ONE, smtputf8=True, utf8_header=True, eight_bit=True), ["5.6.9"]),
    (b"250-h\r\n250 8BITMIME\r\n", replace(ONE, smtputf8=True, utf8_header=True, eight_bit=True), ["5.6.9"]),
    (b"250 h\r\n", replace(THREE, sender="ä@x.example"), ["5.6.7"] * 3),
    (b"250 h\r\n", replace(THREE, sender="ä@bücher.example"), ["5.6.7"] * 3),
]


@pytest.mark.parametrize(("ehlo", "transaction", "enhanced"), UNASKED)
def test_what_a_hop_cannot_take_fails_without_asking(ehlo: bytes, transaction: Transaction, enhanced: list[str]) -> None:
    hop = opened(ehlo)
    hop.begin(transaction)
    assert hop.sent == b""
    assert results(hop) == [("failed", 0, code) for code in enhanced]
    assert not hop.session.closed


def test_one_international_recipient_does_not_fail_the_others() -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(replace(THREE, recipients=(To("b@y.example"), To("ö@y.example"), To("d@y.example"))))
    assert hop.sent.count(b"RCPT") == 2
    hop.say(OK + OK + b"550 5.1.1 no\r\n" + GO + QUEUED)
    assert results(hop) == [TAKEN, ("failed", 0, "5.6.7"), ("failed", 550, "5.1.1")]


INTERNATIONAL = Transaction("ann@bücher.example", (To("bob@Kärnten.example"),), 10, smtputf8=True)


@pytest.mark.parametrize(
    ("extensions", "sender", "recipient", "parameter"),
    [
        (b"PIPELINING", "ann@xn--bcher-kva.example", "bob@xn--krnten-bua.example", ""),
        (b"SMTPUTF8", "ann@bücher.example", "bob@Kärnten.example", " SMTPUTF8"),
    ],
)
def test_a_domain_goes_as_the_hop_takes_it(extensions: bytes, sender: str, recipient: str, parameter: str) -> None:
    """RFC 6531 section 3.2: with an ASCII local part there is a form that every hop takes."""
    hop = opened(b"250-h\r\n250-PIPELINING\r\n250 " + extensions + b"\r\n")
    hop.begin(INTERNATIONAL)
    lines = hop.sent.decode().splitlines()
    assert lines[:2] == [f"MAIL FROM:<{sender}>{parameter}", f"RCPT TO:<{recipient}>"]


LIMITS: list[tuple[bytes, int | None, bool]] = [
    (b"250 h\r\n", None, False),
    (b"250-h\r\n250 LIMITS RCPTMAX=5\r\n", 5, False),
    (b"250-h\r\n250 limits mailmax=1 rcptmax=999999 rcptdomainmax=1\r\n", 999_999, True),
    (b"250-h\r\n250 LIMITS MAILMAX=2\r\n", None, False),
    (b"250-h\r\n250 LIMITS\r\n", None, False),
    (b"250-h\r\n250 LIMITS RCPTMAX=0 MAILMAX=00 RCPTMAX=-1 MAILMAX RCPTMAX= XRCPTMAX=1\r\n", None, False),
    (b"250-h\r\n250 LIMITS RCPTMAX=99999999999999999999 MAILMAX=1x\r\n", None, False),
]


@pytest.mark.parametrize(("ehlo", "recipients", "used_up"), LIMITS)
def test_limits_of_the_hop(ehlo: bytes, recipients: int | None, used_up: bool) -> None:
    """RFC 9422; `used_up` after one transaction."""
    hop = opened(ehlo)
    assert hop.session.most_recipients == recipients
    assert not hop.session.used_up
    hop.begin(ONE)
    assert hop.session.used_up == used_up


# Setting up

STARTTLS = replace(SETTINGS, starttls="required")
OFFERED = replace(SETTINGS, starttls="offered")
USER = replace(SETTINGS, encrypted=True, user="u", password="p4ss")
PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0u\0p4ss") + b"\r\n"
TLS_EHLO = b"250-h\r\n250 STARTTLS\r\n"
EHLO = b"EHLO gw.example\r\n"

SETUPS: list[tuple[str, ClientSettings, list[bytes], bytes]] = [
    ("plain", SETTINGS, [GREETING, PLAIN_EHLO], EHLO),
    ("many lines of greeting", SETTINGS, [b"220-a\r\n220-b\r\n220 c\r\n", PLAIN_EHLO], EHLO),
    ("HELO where EHLO is unknown", SETTINGS, [GREETING, b"502 what\r\n", b"250 h\r\n"], EHLO + b"HELO gw.example\r\n"),
    ("STARTTLS", STARTTLS, [GREETING, TLS_EHLO, b"220 go\r\n", PLAIN_EHLO], EHLO + b"STARTTLS\r\n<TLS>" + EHLO),
    ("offered STARTTLS", OFFERED, [GREETING, TLS_EHLO, b"220 go\r\n", PLAIN_EHLO], EHLO + b"STARTTLS\r\n<TLS>" + EHLO),
    ("STARTTLS not offered", OFFERED, [GREETING, PLAIN_EHLO], EHLO),
    ("offered STARTTLS refused", OFFERED, [GREETING, TLS_EHLO, b"454 4.7.0 not now\r\n"], EHLO + b"STARTTLS\r\n"),
    ("AUTH PLAIN", USER, [GREETING, b"250-h\r\n250 AUTH LOGIN PLAIN\r\n", b"235 ok\r\n"], EHLO + PLAIN),
    ("AUTH=", USER, [GREETING, b"250-h\r\n250 auth=plain\r\n", b"235 ok\r\n"], EHLO + PLAIN),
    (
        "AUTH LOGIN",
        USER,
        [GREETING, b"250-h\r\n250 AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 ok\r\n"],
        EHLO + b"AUTH LOGIN\r\ndQ==\r\ncDRzcw==\r\n",
    ),
    (
        "AUTH in clear when asked to",
        replace(USER, encrypted=False, clear_auth=True),
        [GREETING, b"250-h\r\n250 AUTH PLAIN\r\n", b"235 ok\r\n"],
        EHLO + PLAIN,
    ),
]


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize(("settings", "said", "sent"), [row[1:] for row in SETUPS], ids=[row[0] for row in SETUPS])
def test_set_up(settings: ClientSettings, said: list[bytes], sent: bytes, step: int) -> None:
    hop = Hop(ClientSession(settings))
    for reply in said:
        assert Ready() not in hop.events
        hop.say(reply, step)
    assert hop.sent == sent
    assert hop.events[-1] == Ready()


def test_extensions_before_tls_are_forgotten() -> None:
    hop = Hop(ClientSession(STARTTLS))
    for reply in (GREETING, b"250-h\r\n250-DSN\r\n250 STARTTLS\r\n", b"220 go\r\n", b"250-in.example hi\r\n250 SIZE\r\n"):
        hop.say(reply)
    assert hop.session.extensions == {"SIZE": ""}
    assert hop.session.remote == "in.example"


UNUSABLE: list[tuple[str, ClientSettings, list[bytes], int, str]] = [
    ("421 greeting", SETTINGS, [b"421 4.3.2 closing\r\n"], 421, "closing"),
    ("554 greeting", SETTINGS, [b"554 5.7.1 go away\r\n"], 554, "hop refused greeting: go away"),
    ("450 greeting", SETTINGS, [b"450 busy\r\n"], 450, "hop refused greeting: busy"),
    ("354 greeting", SETTINGS, [b"354 x\r\n"], 0, "The next hop broke the protocol: 354 to greeting"),
    ("4xx to EHLO", SETTINGS, [GREETING, b"451 4.0.0 no\r\n"], 451, "hop refused EHLO: no"),
    ("5xx to HELO", SETTINGS, [GREETING, b"500 a\r\n", b"550 b\r\n"], 550, "hop refused HELO: b"),
    ("no HELO when TLS is required", STARTTLS, [GREETING, b"502 what\r\n"], 502, "hop refused EHLO: what"),
    ("no HELO when signing in", USER, [GREETING, b"502 what\r\n"], 502, "hop refused EHLO: what"),
    ("no STARTTLS", STARTTLS, [GREETING, PLAIN_EHLO], 0, "hop does not offer STARTTLS"),
    ("STARTTLS refused", STARTTLS, [GREETING, TLS_EHLO, b"454 4.7.0 no\r\n"], 454, "hop refused STARTTLS: no"),
    (
        "input behind the 220",
        STARTTLS,
        [GREETING, TLS_EHLO, b"220 go\r\n250 injected\r\n"],
        0,
        "The next hop broke the protocol: input in clear after STARTTLS",
    ),
    (
        "a piece of input behind the 220",
        OFFERED,
        [GREETING, TLS_EHLO, b"220 go\r\n2"],
        0,
        "The next hop broke the protocol: input in clear after STARTTLS",
    ),
    (
        "no AUTH in clear",
        replace(OFFERED, user="u", password="p4ss"),
        [GREETING, b"250-h\r\n250 AUTH PLAIN\r\n"],
        0,
        "hop offers no TLS, and the password does not go in clear",
    ),
    ("no AUTH", USER, [GREETING, PLAIN_EHLO], 0, "hop offers neither AUTH PLAIN nor AUTH LOGIN"),
    ("another AUTH", USER, [GREETING, b"250-h\r\n250 AUTH CRAM-MD5\r\n"], 0, "hop offers neither AUTH PLAIN nor AUTH LOGIN"),
    (
        "AUTH refused",
        USER,
        [GREETING, b"250-h\r\n250 AUTH PLAIN\r\n", b"535 5.7.8 AHUAcDRzcw==\r\n"],
        535,
        "hop refused our sign-in",
    ),
    ("AUTH 421", USER, [GREETING, b"250-h\r\n250 AUTH PLAIN\r\n", b"421 AHUAcDRzcw==\r\n"], 421, "the hop ended the session"),
    (
        "AUTH LOGIN refused",
        USER,
        [GREETING, b"250-h\r\n250 AUTH LOGIN\r\n", b"334 a\r\n", b"535 dQ==\r\n"],
        535,
        "hop refused our sign-in",
    ),
]


@pytest.mark.parametrize(("settings", "said", "code", "text"), [row[1:] for row in UNUSABLE], ids=[row[0] for row in UNUSABLE])
def test_unusable(settings: ClientSettings, said: list[bytes], code: int, text: str) -> None:
    hop = Hop(ClientSession(settings))
    for reply in said:
        hop.say(reply)
    last = hop.events[-1]
    assert isinstance(last, Unusable)
    assert (last.code, last.text) == (code, text)
    assert hop.session.closed


def test_password_is_not_shown() -> None:
    assert "p4ss" not in repr(USER)


# Trouble

DIALOGUE = [OK, OK, OK, OK, GO]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("answered", range(6))
@pytest.mark.parametrize("trouble", ["lost", "421", "garbage"])
def test_trouble_at_each_stage_is_a_retry(answered: int, pipelining: bool, trouble: str) -> None:
    hop = opened(PIPELINING_EHLO if pipelining else PLAIN_EHLO)
    hop.begin(THREE)
    for reply in DIALOGUE[:answered]:
        hop.say(reply)
    if trouble == "lost":
        hop.session.connection_lost("connection lost")
        hop.pump()
    else:
        hop.say(b"421 4.3.2 bye\r\n" if trouble == "421" else b"what?\r\n")
    assert [verdict.result for verdict in hop.finished.verdicts] == ["retry"] * 3
    assert {verdict.code for verdict in hop.finished.verdicts} == {421 if trouble == "421" else 0}
    assert hop.session.closed
    assert hop.finished.mail_answered is (answered > 0)
    assert hop.finished.lost_after_dot is (answered == 5 and trouble != "421")


def test_what_was_refused_before_the_loss_stays_refused() -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(THREE)
    hop.say(OK + b"550 5.1.1 nobody\r\n" + OK)
    hop.session.connection_lost("timed out")
    hop.pump()
    assert hop.finished.verdicts == (
        Verdict("failed", 550, "5.1.1", "nobody"),
        Verdict("retry", 0, "4.4.2", "timed out before the reply to RCPT"),
        Verdict("retry", 0, "4.4.2", "timed out before the reply to RCPT"),
    )


@pytest.mark.parametrize(
    ("reply", "expected"), [(b"552 5.3.4 too big\r\n", ("failed", 552, "5.3.4")), (b"451 4.3.0 x\r\n", ("retry", 451, "4.3.0"))]
)
def test_refusal_while_the_body_is_sent_is_kept(reply: bytes, expected: tuple[str, int, str]) -> None:
    session = opened(PIPELINING_EHLO).session
    session.begin(ONE)
    session.data_to_send()
    session.receive(OK + OK + GO)
    assert session.next_event() == SendBody()
    session.send_body(BODY)
    session.receive(reply)
    session.send_body(BODY)
    session.end_body()
    event = session.next_event()
    assert isinstance(event, Finished)
    assert [(v.result, v.code, v.enhanced) for v in event.verdicts] == [expected]
    assert session.closed
    assert session.data_to_send() == b""


def test_acceptance_before_the_final_dot_is_none() -> None:
    session = opened(PIPELINING_EHLO).session
    session.begin(ONE)
    session.data_to_send()
    session.receive(OK + OK + GO + QUEUED)
    assert session.next_event() == SendBody()
    event = session.next_event()
    assert isinstance(event, Finished)
    assert event.verdicts[0].result == "retry"
    assert session.closed


NONSENSE = [
    b"hello\r\n",
    b"25\r\n",
    b"250ok\r\n",
    b"\r\n",
    b"150 x\r\n",
    b"650 x\r\n",
    b"\xff\xfe250 x\r\n",
    b"250-a\r\n251 b\r\n",
    b"x" * (MAX_LINE + 1),
    b"250 " + b"x" * MAX_LINE + b"\r\n",
    b"250-a\r\n" * (MAX_LINES + 1),
    b"354 to mail\r\n",
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda data: repr(data[:12]))
def test_nonsense_closes(nonsense: bytes) -> None:
    hop = opened()
    hop.begin(ONE)
    hop.say(nonsense)
    assert [verdict.result for verdict in hop.finished.verdicts] == ["retry"]
    assert hop.finished.verdicts[0].text.startswith("The next hop broke the protocol: ")
    assert hop.session.closed


@pytest.mark.parametrize(
    "early",
    [
        pytest.param([OK + OK], id="RCPT answered with MAIL"),
        pytest.param([OK, OK + GO], id="DATA answered with RCPT"),
        pytest.param([OK, OK, GO + QUEUED], id="the dot answered with DATA"),
    ],
)
def test_a_reply_before_its_command_is_none(early: Sequence[bytes]) -> None:
    """Else what the hop says next of one recipient would be taken for another's, or for the message."""
    session = opened().session
    session.begin(ONE)
    for said in early:
        session.data_to_send()
        session.receive(said)
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert [(one.result, one.enhanced) for one in finished.verdicts] == [("retry", "4.5.0")]
    assert not finished.lost_after_dot


def test_greeting_and_more_at_once_is_no_answer_to_ehlo() -> None:
    hop = Hop(ClientSession(SETTINGS))
    hop.say(GREETING + PLAIN_EHLO)
    (unusable,) = hop.events
    assert isinstance(unusable, Unusable)


@pytest.mark.parametrize("said", [b"what?\r\n", b"354 go on\r\n", b"250-a\r\n251 b\r\n", b"x" * (MAX_LINE + 1)])
def test_nonsense_after_the_final_dot_leaves_it_open(said: bytes) -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(ONE)
    hop.say(OK + OK + GO + said)
    assert results(hop) == [("retry", 0, "4.5.0")]
    assert hop.finished.lost_after_dot


def test_a_closed_session_keeps_nothing() -> None:
    session = opened().session
    session.receive(b"what?\r\n")
    for _ in range(100):
        session.receive(b"x" * 1000)
    assert session.closed
    assert session._reader.empty


TOO_MANY: list[tuple[bytes, bool]] = [
    (b"452 4.5.3 too many recipients\r\n", True),
    (b"451 4.5.3 too many recipients\r\n", True),
    (b"452 too many recipients\r\n", True),
    (b"552 5.5.3 too many recipients\r\n", True),
    (b"552 too many recipients\r\n", True),
    (b"452 4.3.1 disk full\r\n", False),
    (b"452 4.2.2 mailbox full\r\n", False),
    (b"450 later\r\n", False),
    (b"550 5.5.3 too many recipients\r\n", False),
]


@pytest.mark.parametrize(("said", "too_many"), TOO_MANY)
def test_too_many_recipients(said: bytes, too_many: bool) -> None:
    hop = opened(PIPELINING_EHLO)
    hop.begin(replace(THREE, recipients=THREE.recipients[:2]))
    hop.say(OK + OK + said + GO + QUEUED)
    assert [verdict.too_many for verdict in hop.finished.verdicts] == [False, too_many]


def test_unasked_reply_at_rest_closes_without_event() -> None:
    for reply in (b"421 idle too long\r\n", b"250 hello?\r\n"):
        hop = opened()
        hop.say(reply)
        assert hop.session.closed
        assert hop.events == []


def test_begin_on_a_closed_session_is_a_retry_unasked() -> None:
    hop = opened()
    hop.session.connection_lost("connection lost")
    hop.begin(ONE)
    assert results(hop) == [("retry", 0, "4.4.2")]
    assert not hop.finished.mail_answered


def test_text_is_one_printable_line_of_at_most_512() -> None:
    hop = opened()
    hop.begin(ONE)
    hop.say(b"550-5.1.1 a\x1b[2Jb\x00\r\n550 5.1.1 " + b"\xc3\xa4\xff" * 600 + b"\r\n")
    text = hop.finished.verdicts[0].text
    assert text.startswith("a?[2Jb? ä\N{REPLACEMENT CHARACTER}")
    assert len(text) == 512
    assert text.isprintable()


def test_a_line_end_in_an_address_is_our_bug() -> None:
    with pytest.raises(ValueError, match="line end inside MAIL"):
        opened().session.begin(replace(ONE, sender="a@x\r\nRCPT TO:<evil@z>"))


# Dot-stuffing

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"a", b"\x00", b"\xe4."]), max_size=12)


@given(lines=LINES, ended=st.booleans(), data=st.data())
def test_stuffing_is_undone_by_reading_lines(lines: list[bytes], ended: bool, data: st.DataObject) -> None:
    message = b"\r\n".join(lines) + (b"\r\n" if ended and lines else b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=6)))
    blocks = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    stuffer = Stuffer()
    wire = b"".join(stuffer.stuff(block) for block in blocks) + stuffer.end()
    read = wire.split(b"\r\n")
    assert read[-2:] == [b".", b""]
    assert b"." not in read[:-2]
    plain = [line.removeprefix(b".") for line in read[:-2]]
    whole = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    assert b"".join(line + b"\r\n" for line in plain) == whole


@given(st.binary(max_size=200))
def test_no_octets_raise(data: bytes) -> None:
    for ehlo in (PLAIN_EHLO, PIPELINING_EHLO):
        hop = opened(ehlo)
        hop.begin(ONE)
        hop.say(data)
        hop.session.connection_lost("connection lost")
        hop.pump()
        assert len(hop.finished.verdicts) == 1
