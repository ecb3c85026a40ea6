"""What `doctor` says of the next hops: it connects, starts TLS and signs in, and leaves before any mail."""

import smtplib
import socket
import ssl
from collections.abc import Iterator

from gateway.cli.machine import not_writable
from gateway.config import NextHop
from gateway.relay.tls import context_for
from gateway.store.inspect import Finding

_TIMEOUT = 10.0  # seconds


class _Fault(Exception):
    """What is wrong, and what would be right."""


def inspect(key: str, hop: NextHop, hostname: str) -> Iterator[Finding]:
    """`hostname` is the name we give in EHLO."""
    if hop.path is not None:
        problem = not_writable(hop.path)
        yield Finding("problem", key, problem) if problem else Finding("ok", key, f"Maildirs in {hop.path}")
        return
    try:
        yield from (Finding("warning", key, f"{hop.label} {each}") for each in _converse(hop, hostname))
    except _Fault as fault:
        yield Finding("problem", key, f"{hop.label} {fault}")
    except (OSError, smtplib.SMTPException) as error:
        yield Finding("problem", key, f"{hop.label} {_words(error)}")
    else:
        yield Finding("ok", key, f"{hop.label} answers{', with TLS' if hop.tls != 'none' else ''}{_signed_in(hop)}")


def _signed_in(hop: NextHop) -> str:
    return f", and lets {hop.user} sign in" if hop.user else ""


def _converse(hop: NextHop, hostname: str) -> Iterator[str]:
    """Warnings. Raises _Fault, OSError, SMTPException."""
    with _connected(hop, hostname) as session:
        session.ehlo_or_helo_if_needed()
        if hop.kind == "smtp" and hop.tls != "none":
            yield from _start_tls(session, hop)
        if hop.user:
            _sign_in(session, hop)


def _connected(hop: NextHop, hostname: str) -> smtplib.SMTP:
    if hop.kind == "smtps":
        return smtplib.SMTP_SSL(hop.host, hop.port, hostname, timeout=_TIMEOUT, context=context_for(hop))
    return smtplib.SMTP(hop.host, hop.port, hostname, timeout=_TIMEOUT)


def _start_tls(session: smtplib.SMTP, hop: NextHop) -> Iterator[str]:
    if session.has_extn("starttls"):
        session.starttls(context=context_for(hop))
        session.ehlo()
    elif hop.tls == "required":
        raise _Fault("does not offer STARTTLS; use smtps:// or its submission port, or tls=none on a network you trust")
    else:
        yield "does not offer STARTTLS; mail to it goes in clear"


def _sign_in(session: smtplib.SMTP, hop: NextHop) -> None:
    offered = set(session.esmtp_features.get("auth", "").upper().split())
    if not offered & {"PLAIN", "LOGIN"}:
        raise _Fault("does not offer AUTH PLAIN or LOGIN here; leave the user out, or use its submission port")
    try:
        session.login(hop.user, hop.password.get_secret_value())
    except smtplib.SMTPAuthenticationError as error:
        raise _Fault(f"refuses the user and password (reply {error.smtp_code}); put them right") from None


def _words(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not valid here ({error.verify_message}); name its authority with &ca=file.pem"
        case ssl.SSLError():
            return f"fails at TLS ({error.reason}); is it the right port?"
        case socket.gaierror():
            return "cannot be found in DNS; check the name"
        case ConnectionRefusedError():
            return "refuses the connection; check the port, and that the server runs"
        case TimeoutError():
            return "does not answer in time; check the address, the port and the firewall"
        case smtplib.SMTPServerDisconnected():
            return "closes the connection at once; is it an SMTP server, and may this machine use it?"
        case smtplib.SMTPResponseException():
            return f"answers {error.smtp_code}; see its log"
        case FileNotFoundError():
            return "has a ca file that does not exist; check &ca="
        case OSError() if error.strerror:
            return f"cannot be reached: {error.strerror}"
        case _:
            return f"fails: {type(error).__name__}"
