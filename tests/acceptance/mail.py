"""Messages to send, a way to send them, and what arrived in a Maildir."""

import smtplib
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD
from tests.acceptance.waiting import until

BODY = b"Hello,\r\n.a line with a dot in front\r\n..and two\r\n\r\ntrailing blanks  \r\n\t\r\n" + b"x" * 900 + b"\r\nend\r\n"


def message(name: str = "m", *, to: str = "bob@example.net", cc: str = "", body: bytes = BODY, extra: bytes = b"") -> bytes:
    """CRLF throughout; `name` becomes the Message-ID."""
    fields = [
        b"From: Ann <" + LOGIN.encode() + b">",
        b"To: " + to.encode(),
        *([b"Cc: " + cc.encode()] if cc else []),
        b"Subject: test",
        b"Date: Sun, 22 Nov 2026 04:00:00 +0000",
        b"Message-ID: <" + name.encode() + b"@test.example>",
    ]
    return b"".join(field + b"\r\n" for field in fields) + extra + b"\r\n" + body


def session(gateway: GatewayProcess, login: str = LOGIN, password: str = PASSWORD) -> smtplib.SMTP:
    """Python's own client, signed in over a verified STARTTLS."""
    client = smtplib.SMTP("localhost", gateway.starttls, timeout=60.0)
    client.starttls(context=gateway.context())
    client.login(login, password)
    return client


def submit(gateway: GatewayProcess, octets: bytes, *recipients: str, options: Sequence[str] = ()) -> None:
    with session(gateway) as client:
        client.sendmail(LOGIN, recipients or ["bob@example.net"], octets, mail_options=options)


def arrived(maildir: Path, recipient: str) -> list[bytes]:
    """What is new in a recipient's folder, whole."""
    new = maildir / recipient / "new"
    return [path.read_bytes() for path in sorted(new.iterdir())] if new.is_dir() else []


def until_arrived(gateway: GatewayProcess, recipient: str, count: int = 1) -> list[bytes]:
    def enough() -> list[bytes] | None:
        found = arrived(gateway.at.mail, recipient)
        return found if len(found) >= count else None

    return until(enough, lambda: f"{count} messages for {recipient}\n{gateway.story()}")


def parts(stored: bytes) -> tuple[bytes, bytes]:
    """Header with its last line end, and body, of a message with LF or CRLF."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in stored else b"\n\n"
    header, _, body = stored.partition(end)
    return header + end[: len(end) // 2], body


def unix(octets: bytes) -> bytes:
    """As a Maildir keeps it."""
    return octets.replace(b"\r\n", b"\n")
