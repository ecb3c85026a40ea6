"""A next hop with a fault in every place: who is told what, what is tried again, and that nothing is lost or comes twice.

Each row is one fault, made once; then the hop is well. Trouble before MAIL is the hop's: the mail waits. A 4xx or a lost
connection is tried again, a 5xx is reported. Only where the final reply itself was lost may a message come twice.
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.queue.lease import TRUSTED
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, Installation, run_tool
from tests.acceptance.mail import message
from tests.acceptance.smarthost import SILENCE, Delivery, Smarthost
from tests.acceptance.test_reports import reports, status_fields
from tests.acceptance.waiting import until
from tests.acceptance.wire import signed_in

ENDLESS = b"250 " + b"x" * 100_000
FLOOD = b"250-and on\r\n" * 5_000


@dataclass(frozen=True)
class Fault:
    """`faults` as `Smarthost.faults`. The message is for `ann` and `bob`: the status each is reported with, "" if it is not."""

    name: str
    faults: Mapping[bytes, bytes] = field(default_factory=dict)
    ann: str = ""
    bob: str = ""
    down: str = ""  # what the log says of the hop, where it is the hop's trouble
    lost: bool = False  # the reply to the final dot: we cannot know what became of the message
    twice: bool = False  # the hop had taken it


def failed(name: str, faults: Mapping[bytes, bytes], status: str) -> Fault:
    return Fault(name, faults, ann=status, bob=status)


NO_MORE = {b"DATA": b"554 5.5.1 no valid recipients\r\n"}  # what a hop says to DATA after it has refused MAIL

ANY_HOP = [
    Fault("421 greeting", {b"GREETING": b"421 4.3.2 not now\r\n"}, down="not now (421 4.3.2)"),
    Fault("4xx greeting", {b"GREETING": b"450 4.3.2 not now\r\n"}, down="hop refused greeting: not now (450 4.3.2)"),
    Fault("5xx greeting", {b"GREETING": b"554 5.7.1 go away\r\n"}, down="hop refused greeting: go away (554 5.7.1)"),
    Fault("dropped before the greeting", {b"GREETING": b""}, down="connection lost before the greeting"),
    Fault("garbage greeting", {b"GREETING": b"SSH-2.0-OpenSSH\r\n"}, down="broke the protocol: a line that is not a reply"),
    Fault("endless greeting", {b"GREETING": ENDLESS}, down="broke the protocol: reply line too long"),
    Fault("flood of a greeting", {b"GREETING": FLOOD}, down="broke the protocol: reply of too many lines"),
    Fault("greeting and more", {b"GREETING": b"220 a\r\n250 b\r\n"}, down="broke the protocol: a reply that nothing asked for"),
    Fault("wrong code greeting", {b"GREETING": b"354 go\r\n"}, down="broke the protocol: 354 to greeting"),
    Fault("4xx EHLO", {b"EHLO": b"451 4.3.0 not now\r\n"}, down="hop refused EHLO"),
    Fault("5xx EHLO, HELO taken", {b"EHLO": b"502 5.5.1 what\r\n"}),
    Fault("5xx EHLO, HELO 4xx", {b"EHLO": b"502 5.5.1 what\r\n", b"HELO": b"450 4.3.2 not now\r\n"}, down="hop refused HELO"),
    Fault("5xx EHLO, HELO 5xx", {b"EHLO": b"502 5.5.1 what\r\n", b"HELO": b"550 5.7.1 no\r\n"}, down="hop refused HELO"),
    Fault("421 EHLO", {b"EHLO": b"421 4.3.2 bye\r\n"}, down="bye (421 4.3.2)"),
    Fault("dropped at EHLO", {b"EHLO": b""}, down="connection lost before the reply to EHLO"),
    Fault("dropped at HELO", {b"EHLO": b"500 what\r\n", b"HELO": b""}, down="connection lost"),
    Fault("flood at EHLO", {b"EHLO": FLOOD}, down="reply of too many lines"),
    Fault("4xx MAIL", {b"MAIL": b"451 4.3.0 later\r\n", b"RCPT": b"503 5.5.1 no\r\n", **NO_MORE}),
    failed("5xx MAIL", {b"MAIL": b"550 5.1.8 who are you\r\n", b"RCPT": b"503 5.5.1 no\r\n", **NO_MORE}, "5.1.8"),
    Fault("421 MAIL", {b"MAIL": b"421 4.3.2 bye\r\n"}),
    Fault("dropped at MAIL", {b"MAIL": b""}),
    Fault("garbage at MAIL", {b"MAIL": b"\xff\x00\x16\x03\r\n"}),
    Fault("wrong code at MAIL", {b"MAIL": b"354 go\r\n"}),
    Fault("4xx RCPT", {b"RCPT": b"450 4.2.1 busy\r\n"}),
    Fault("5xx RCPT", {b"RCPT": b"550 5.1.1 nobody\r\n"}, ann="5.1.1"),
    Fault("5xx RCPT, no enhanced code", {b"RCPT": b"550 nobody\r\n"}, ann="5.0.0"),
    Fault("each RCPT its own", {b"RCPT TO:<ann": b"450 4.2.1 busy\r\n", b"RCPT TO:<bob": b"550 5.1.1 no\r\n"}, bob="5.1.1"),
    Fault("both RCPT 4xx", {b"RCPT TO:<ann": b"450 4.2.1 busy\r\n", b"RCPT TO:<bob": b"451 4.7.1 no\r\n"}),
    Fault(
        "both RCPT 5xx", {b"RCPT TO:<ann": b"550 5.1.1 no\r\n", b"RCPT TO:<bob": b"553 5.1.3 no\r\n"}, ann="5.1.1", bob="5.1.3"
    ),
    Fault("too many recipients", {b"RCPT TO:<bob": b"452 4.5.3 too many\r\n"}),
    Fault("421 RCPT", {b"RCPT": b"421 4.3.2 bye\r\n"}),
    Fault("dropped at RCPT", {b"RCPT": b""}),
    Fault("flood at RCPT", {b"RCPT": FLOOD}),
    Fault("two codes in one reply", {b"RCPT": b"250-ok\r\n550 no\r\n"}),
    Fault("one reply more than commands", {b"RCPT": b"250 ok\r\n250 ok\r\n"}),
    Fault("4xx DATA", {b"DATA": b"451 4.3.0 later\r\n"}),
    failed("5xx DATA", {b"DATA": b"554 5.6.0 no\r\n"}, "5.6.0"),
    Fault("421 DATA", {b"DATA": b"421 4.3.2 bye\r\n"}),
    Fault("dropped at DATA", {b"DATA": b""}),
    Fault("wrong code at DATA", {b"DATA": b"250 ok\r\n"}),
    Fault("endless line at DATA", {b"DATA": ENDLESS}),
    Fault("final reply with DATA's", {b"DATA": b"354 go\r\n250 2.0.0 queued\r\n"}),
    Fault("dropped in the message", {b"BODY": b""}, lost=True),  # all of it was sent when the connection was lost
    failed("5xx in the message", {b"BODY": b"552 5.3.4 too big\r\n"}, "5.3.4"),
    Fault("4xx in the message", {b"BODY": b"452 4.3.1 full\r\n"}),
    Fault("4xx dot", {b".": b"452 4.3.1 full\r\n"}),
    failed("5xx dot", {b".": b"554 5.7.1 spam\r\n"}, "5.7.1"),
    failed("5xx dot, class of another", {b".": b"550 2.0.0 no\r\n"}, "5.0.0"),
    Fault("421 dot", {b".": b"421 4.3.2 bye\r\n"}),
    Fault("dropped at the dot", {b".": b""}, lost=True, twice=True),
    Fault("garbage at the dot", {b".": b"thank you\r\n"}, lost=True),
    Fault("wrong code at the dot", {b".": b"354 go on\r\n"}, lost=True),
    Fault("endless line at the dot", {b".": ENDLESS}, lost=True, twice=True),
    Fault("flood at the dot", {b".": FLOOD}, lost=True, twice=True),
]

SECURE_HOP = [
    Fault("STARTTLS 4xx", {b"STARTTLS": b"454 4.7.0 not now\r\n"}, down="hop refused STARTTLS: not now (454 4.7.0)"),
    Fault("STARTTLS 5xx", {b"STARTTLS": b"554 5.7.3 no\r\n"}, down="hop refused STARTTLS: no (554 5.7.3)"),
    Fault("STARTTLS not offered", {b"EHLO": b"250-h\r\n250 PIPELINING\r\n"}, down="hop does not offer STARTTLS"),
    Fault("no EHLO where TLS is needed", {b"EHLO": b"502 5.5.1 what\r\n"}, down="hop refused EHLO: what (502 5.5.1)"),
    Fault("dropped at STARTTLS", {b"STARTTLS": b""}, down="connection lost before the reply to STARTTLS"),
    Fault("garbage at STARTTLS", {b"STARTTLS": b"what\r\n"}, down="broke the protocol: a line that is not a reply"),
    Fault("words behind the 220", {b"STARTTLS": b"220 go\r\n250 injected\r\n"}, down="broke the protocol: input in clear"),
    Fault("AUTH 4xx", {b"AUTH": b"454 4.7.0 not now\r\n"}, down="hop refused our sign-in (454 4.7.0)"),
    Fault("AUTH 5xx", {b"AUTH": b"535 5.7.8 wrong\r\n"}, down="hop refused our sign-in (535 5.7.8)"),
    Fault("AUTH 421", {b"AUTH": b"421 4.3.2 bye\r\n"}, down="the hop ended the session (421 4.3.2)"),
    Fault("AUTH challenged", {b"AUTH": b"334 \r\n"}, down="hop refused our sign-in (334)"),
    Fault("dropped at AUTH", {b"AUTH": b""}, down="connection lost before the reply to AUTH"),
]


@dataclass(frozen=True)
class Setting:
    """A hop, and a gateway that sends to it. `certificates`: those that do not count, by name."""

    hop: Smarthost
    gateway: GatewayProcess
    certificates: Mapping[str, ssl.SSLContext | bytes] = field(default_factory=dict)

    def send(self, row: str) -> str:
        """A message to ann and bob, whose addresses name the row; its queue id."""
        with signed_in(self.gateway) as wire:
            wire.envelope(*self.addresses(row))
            said = wire.data(message(row, to=", ".join(self.addresses(row))))
            assert said.code == 250, said
            return said.text.rpartition(" ")[2]

    def addresses(self, row: str) -> list[str]:
        place = "".join(letter if letter.isalnum() else "-" for letter in row.lower())
        return [f"{name}@{place}.example" for name in ("ann", "bob")]

    def run(self, fault: Fault) -> None:
        """Make the fault, and look at everything that may follow from it."""
        # a report about the row before must not meet it, nor lose its reply with the connections
        until(lambda: self.gateway.figure("queue_recipients") == 0, self.gateway.story)
        self.hop.hang_up()
        self.hop.faults = dict(fault.faults)
        sent = self.send(fault.name)
        told = dict(zip(self.addresses(fault.name), (fault.ann, fault.bob), strict=True))
        reported = {address: status for address, status in told.items() if status}
        until(lambda: self.ended(sent) == len(told), self.gateway.story)
        assert len(self.gateway.logged("failed", queue_id=sent)) == len(reported)
        assert not self.hop.faults, "the fault was not met"
        for address, status in told.items():
            arrived = len(self.hop.received(address))
            assert arrived == (2 if fault.twice else not status), address
        assert self.reports_about(fault.name, len(reported) > 0) == reported
        assert bool(self.gateway.logged("final reply lost", queue_id=sent)) == fault.lost
        downs = [line["reason"] for line in self.gateway.logged("hop down")]
        assert not fault.down or fault.down in downs[-1]

    def ended(self, queue_id: str) -> int:
        return sum(len(self.gateway.logged(event, queue_id=queue_id)) for event in ("delivered", "failed", "expired"))

    def reports_about(self, row: str, any_: bool) -> dict[str, str]:
        """The addresses of a row that were reported, with their status; one report at most."""
        place = self.addresses(row)[0].partition("@")[2].encode()

        def found() -> list[Delivery]:
            return [delivery for delivery in reports(self.hop) if place in delivery.data]

        if any_:
            until(found, self.gateway.story)
        about = [fields for delivery in found() for fields in status_fields(delivery)[1]]
        assert len(found()) == any_
        assert all(fields["action"] == "failed" for fields in about)
        return {fields["final-recipient"].removeprefix("rfc822; "): fields["status"] for fields in about}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faulty")


@pytest.fixture(scope="module")
def clear(folder: Path, ca: trustme.CA, template: Path) -> Iterator[Setting]:
    with Smarthost() as hop:
        gateway = GatewayProcess(
            Installation(folder / "clear", ca, template, {"relay": {"next_hop": [hop.url], "retry": ["200ms"]}})
        )
        gateway.start()
        yield Setting(hop, gateway)
        gateway.clean_up()


@pytest.fixture(scope="module")
def secure(folder: Path, ca: trustme.CA, template: Path) -> Iterator[Setting]:
    """A hop that has to show the right certificate, and wants to be signed in to."""
    with Smarthost() as hop:
        hop.tls = _server(ca.issue_cert("localhost"))
        hop.extensions.append("AUTH PLAIN")
        url = f"smtp://user:pass@localhost:{hop.port}?tls=required&ca=authorities.pem"
        gateway = GatewayProcess(
            Installation(folder / "secure", ca, template, {"relay": {"next_hop": [url], "retry": ["200ms"]}})
        )
        gateway.start()
        yield Setting(hop, gateway, _bad_certificates(ca))
        gateway.clean_up()


def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _bad_certificates(ca: trustme.CA) -> dict[str, ssl.SSLContext | bytes]:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return {
        "expired": _server(ca.issue_cert("localhost", not_before=yesterday - timedelta(days=1), not_after=yesterday)),
        "another name": _server(ca.issue_cert("other.example")),
        "an authority nobody knows": _server(trustme.CA().issue_cert("localhost")),
        "no TLS at all": b"220 hello, is this TLS\r\n",
        "silence and an end": b"",
    }


@pytest.mark.parametrize("fault", ANY_HOP, ids=lambda fault: fault.name)
def test_faulty_hop(clear: Setting, fault: Fault) -> None:
    clear.run(fault)


@pytest.mark.parametrize("fault", SECURE_HOP, ids=lambda fault: fault.name)
def test_faulty_secure_hop(secure: Setting, fault: Fault) -> None:
    secure.run(fault)
    assert all(delivery.encrypted for delivery in secure.hop.deliveries)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("expired", "certificate has expired"),
        ("another name", "certificate is not valid for"),
        ("an authority nobody knows", "unable to get local issuer certificate"),
        ("no TLS at all", "TLS with the hop failed: "),
        ("silence and an end", "TLS with the hop failed: connection lost"),
    ],
)
def test_faulty_certificate(secure: Setting, name: str, reason: str) -> None:
    secure.hop.bad_tls = [secure.certificates[name]]
    secure.run(Fault(name, down=reason))
    assert all(delivery.encrypted for delivery in secure.hop.deliveries)
    assert secure.hop.bad_tls == []


ONE_BY_ONE = [  # what follows a refusal is not even asked then
    Fault("4xx MAIL alone", {b"MAIL": b"451 4.3.0 later\r\n"}),
    failed("5xx MAIL alone", {b"MAIL": b"550 5.1.8 who are you\r\n"}, "5.1.8"),
    *(
        fault
        for fault in ANY_HOP
        if fault.name.startswith(("both RCPT", "too many", "one reply more", "final reply")) or fault.lost
    ),
]


@pytest.mark.parametrize("fault", ONE_BY_ONE, ids=lambda fault: fault.name)
def test_faulty_hop_that_is_not_pipelined(clear: Setting, fault: Fault) -> None:
    clear.hop.extensions.remove("PIPELINING")
    try:
        clear.run(replace(fault, name=f"{fault.name} one by one"))
    finally:
        clear.hop.extensions.append("PIPELINING")


def test_mail_deleted_while_the_hop_dawdles_is_not_sent(clear: Setting) -> None:
    """The lease is looked at again before the final dot, once the store's last word on it is some seconds old."""
    clear.hop.hang_up()
    clear.hop.faults = {b"DATA": SILENCE}
    sent = clear.send("dawdling")
    until(lambda: not clear.hop.faults, clear.gateway.story)
    assert run_tool(clear.gateway.at.folder, "queue", "delete", sent).returncode == 0
    old = time.monotonic() + TRUSTED + 0.5
    until(lambda: time.monotonic() > old, "time goes by")
    clear.hop.say(b"354 go\r\n")
    clear.gateway.until_logged("not sent, it is not ours any more", queue_id=sent)
    assert not [address for address in clear.addresses("dawdling") if clear.hop.received(address)]
    clear.run(Fault("after it"))


def test_the_sender_is_who_hears(clear: Setting) -> None:
    """Once for all the rows: reports went to the account, and none about a report."""
    assert {delivery.recipients for delivery in reports(clear.hop)} <= {(LOGIN,)}
