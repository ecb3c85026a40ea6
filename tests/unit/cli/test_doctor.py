"""`doctor`: real files, real ports, and next hops that a few lines of ours play."""

import json
import os
import socket
import socketserver
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import Result

from gateway.store.lockfile import hold

Run = Callable[..., Result]
Settings = Callable[..., None]
AUTHORITY = trustme.CA()


class Hop(socketserver.StreamRequestHandler):
    """Speaks just enough SMTP: `says` are its EHLO keywords, "clear" before TLS and "tls" after; one user, ann/secret."""

    says: dict[str, list[str]]
    context: ssl.SSLContext

    def handle(self) -> None:
        self.state = "clear"
        self.send("220 hop")
        while line := self.rfile.readline():
            self.answer(*line.decode().strip().partition(" "))

    def answer(self, verb: str, _space: str, argument: str) -> None:
        match verb.upper():
            case "EHLO":
                lines = ["hop", *self.says[self.state]]
                self.send("\r\n".join(f"250{' ' if n == len(lines) else '-'}{line}" for n, line in enumerate(lines, 1)))
            case "STARTTLS":
                self.send("220 go")
                self.connection = self.context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.state = self.connection.makefile("rb"), "tls"
            case "AUTH":
                self.send("235 yes" if argument == "PLAIN AGFubgBzZWNyZXQ=" else "535 no")
            case _:
                self.send("221 bye")

    def send(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\r\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not like our certificate is no news."""


@contextmanager
def hop(
    clear: list[str], tls: list[str] | None = None, name: str = "localhost", common_name: str | None = None
) -> Iterator[str]:
    """A next hop on a port of its own, as "localhost:port"; its certificate is for `name`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(*([name] if name else []), common_name=common_name).configure_cert(context)
    handler = type("ThisHop", (Hop,), {"says": {"clear": clear, "tls": tls or []}, "context": context})
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"localhost:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.fixture(autouse=True)
def _quiet_ports(settings: Settings) -> None:
    """Port 0 is always free: the fixed ones may be in use where the tests run."""
    for port in ("2587", "2465", "8025"):
        settings(f"port = {port}", "port = 0")


def findings(run: Run, key: str) -> list[tuple[str, str]]:
    """Level and text of what `doctor` says about `key`."""
    return [(each["level"], each["text"]) for each in json.loads(run("doctor", "--json").stdout) if each["key"] == key]


def test_a_fresh_installation_has_no_problem(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1].endswith(": 0 problems, 1 warning.")
    assert {line.split()[0] for line in lines[:-2]} == {"ok", "warning"}


def test_a_problem_ends_with_status_1(run: Run, settings: Settings) -> None:
    settings('# table = "users"', 'table = "user"')
    result = run("doctor")
    assert result.exit_code == 1
    assert any(line.startswith("problem accounts.table: ") for line in result.stdout.splitlines())


def test_store_missing(folder: Path, run: Run) -> None:
    (folder / "var/gateway.db").unlink()
    [(level, text)] = findings(run, "store.url")
    assert level == "problem"
    assert "smtp-gateway store migrate" in text


def test_state_dir_is_a_file(folder: Path, run: Run, settings: Settings) -> None:
    (folder / "file").write_text("")
    settings('state_dir = "var"', 'state_dir = "file"')
    [(level, text)] = findings(run, "server.state_dir")
    assert level == "problem"
    assert "is not a folder" in text


def test_a_folder_where_nothing_can_be_made(run: Run, settings: Settings) -> None:
    """Not even by root, whom its mode would let in."""
    settings("maildir:var/mail", "maildir:/proc/mail")
    [(level, text)] = findings(run, "relay.next_hop.1")
    assert level == "problem"
    assert "/proc cannot be written by this user" in text


def test_root_is_told_that_the_server_is_somebody_else(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(folder / "var", 12345, -1)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    levels = [level for level, text in findings(run, "server.state_dir") if "run doctor as that user" in text]
    assert levels == ["warning"]


def test_several_of_a_kind_are_counted_so(run: Run, settings: Settings) -> None:
    with hop(["SIZE"]) as place:
        settings('next_hop = ["maildir:var/mail"]', f'next_hop = ["smtp://{place}"]')
        assert run("doctor").stdout.splitlines()[-1].endswith(" findings: 0 problems, 2 warnings.")


@pytest.mark.parametrize("column", ["max_message_size", "daily_recipients", "smtp_enabled", "active"])
def test_an_optional_column_that_is_not_there(run: Run, settings: Settings, column: str) -> None:
    settings("# [accounts.columns]", f'[accounts.columns]\n{column} = "quota_mails"')
    [(level, text)] = findings(run, f"accounts.columns.{column}")
    assert level == "problem"
    assert '"users" has no column "quota_mails"' in text
    assert 'set it to "" if there is none' in text


def test_aliases(folder: Path, run: Run, settings: Settings) -> None:
    settings("[relay]", '[senders]\naliases = "alias"\n\n[relay]')
    [(level, text)] = findings(run, "senders.aliases")
    assert level == "problem"
    assert 'no table or view "alias"' in text
    table = sqlite3.connect(folder / "var/accounts.db")
    table.execute("CREATE TABLE alias (account_id INTEGER, email TEXT)")
    [(level, text)] = findings(run, "senders.aliases")
    assert level == "problem"
    assert "no column address" in text
    table.execute("ALTER TABLE alias RENAME COLUMN email TO address")
    table.close()
    assert [level for level, _ in findings(run, "senders.aliases")] == ["ok"]


def _greet_a_proxy(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        if connection.recv(100) == b"PROXY UNKNOWN\r\n":
            connection.sendall(b"220 here\r\n")


class TestPorts:
    def test_in_use_by_another_program(self, folder: Path, run: Run, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            settings('port = 0\nsecurity = "starttls"', f'port = {other.getsockname()[1]}\nsecurity = "starttls"')
            thread = threading.Thread(target=lambda: other.accept()[0].sendall(b"SSH-2.0-x\r\n"))
            thread.start()
            lock = hold(folder / "var")
            [(level, text)] = findings(run, "listen.1.port")
            os.close(lock)
            thread.join()
        assert level == "problem"
        assert "is in use, and not by a gateway on this server.state_dir" in text

    def test_in_use_by_the_gateway(self, folder: Path, run: Run, settings: Settings) -> None:
        with hop([]) as place:
            settings('port = 0\nsecurity = "starttls"', f'port = {place.partition(":")[2]}\nsecurity = "starttls"')
            assert [level for level, _ in findings(run, "listen.1.port")] == ["problem"]  # a gateway on another state_dir
            lock = hold(folder / "var")
            [(level, text)] = findings(run, "listen.1.port")
            os.close(lock)
        assert level == "ok"
        assert "running gateway" in text

    @pytest.mark.parametrize(("networks", "level"), [("127.0.0.0/8", "ok"), ("192.0.2.0/24", "problem")])
    def test_in_use_by_a_gateway_that_takes_us_for_a_proxy(
        self, folder: Path, run: Run, settings: Settings, networks: str, level: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            listen = f'port = {other.getsockname()[1]}\nsecurity = "starttls"'
            settings('port = 0\nsecurity = "starttls"', f'{listen}\nproxy_protocol_from = ["{networks}"]')
            thread = threading.Thread(target=_greet_a_proxy, args=(other,))
            thread.start()
            lock = hold(folder / "var")
            [(found, _)] = findings(run, "listen.1.port")
            os.close(lock)
            thread.join()
        assert found == level

    def test_no_address_of_this_machine(self, run: Run, settings: Settings) -> None:
        settings('address = "127.0.0.1"\nport = 0\nsecurity = "tls"', 'address = "192.0.2.1"\nport = 0\nsecurity = "tls"')
        [(level, text)] = findings(run, "listen.2.port")
        assert level == "problem"
        assert "no address of this machine" in text


class TestCertificates:
    def give(self, folder: Path, settings: Settings, certificate: bytes, key: bytes) -> None:
        (folder / "chain.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        settings("# [tls] ", '[tls]\ncertificate = "chain.pem"\nkey = "key.pem"\n# ')

    def issued(self, name: str = "localhost", days: float = 90) -> tuple[bytes, bytes]:
        pair = AUTHORITY.issue_cert(name, not_after=datetime.now(UTC) + timedelta(days=days))
        return pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes()

    @pytest.mark.parametrize(
        ("name", "days", "level", "words"),
        [
            ("localhost", 90, "ok", "expires on "),
            ("localhost", 13, "warning", "renew it"),
            ("localhost", -1, "problem", "has expired"),
        ],
    )
    def test_validity(self, folder: Path, run: Run, settings: Settings, name: str, days: float, level: str, words: str) -> None:
        self.give(folder, settings, *self.issued(name, days))
        [(found, text)] = findings(run, "tls.certificate")
        assert found == level
        assert words in text

    def test_another_name(self, folder: Path, run: Run, settings: Settings) -> None:
        self.give(folder, settings, *self.issued("mail.example.com"))
        assert [level for level, _ in findings(run, "tls.certificate")] == ["ok", "warning"]
        assert "is for mail.example.com, not for localhost" in findings(run, "tls.certificate")[1][1]

    def test_a_wildcard_covers_one_label(self, folder: Path, run: Run, settings: Settings) -> None:
        self.give(folder, settings, *self.issued("*.example.com"))
        settings('hostname = "localhost"', 'hostname = "smtp.example.com"')
        assert [level for level, _ in findings(run, "tls.certificate")] == ["ok"]
        settings('hostname = "smtp.example.com"', 'hostname = "a.smtp.example.com"')
        assert [level for level, _ in findings(run, "tls.certificate")] == ["ok", "warning"]

    def test_another_key(self, folder: Path, run: Run, settings: Settings) -> None:
        self.give(folder, settings, self.issued()[0], self.issued()[1])
        [(level, text)] = findings(run, "tls.key")
        assert level == "problem"
        assert "not the key of the certificate" in text

    def test_junk(self, folder: Path, run: Run, settings: Settings) -> None:
        self.give(folder, settings, b"junk", b"junk")
        [(level, text)] = findings(run, "tls.certificate")
        assert level == "problem"
        assert "PEM" in text
        (folder / "chain.pem").write_bytes(self.issued()[0])
        [(level, text)] = findings(run, "tls.key")
        assert level == "problem"
        assert "PEM" in text

    def test_missing_file(self, folder: Path, run: Run, settings: Settings) -> None:
        self.give(folder, settings, *self.issued())
        (folder / "chain.pem").unlink()
        [(level, text)] = findings(run, "tls.certificate")
        assert level == "problem"
        assert "No such file" in text


class TestNextHops:
    def finding(self, run: Run, settings: Settings, url: str) -> list[tuple[str, str]]:
        settings('next_hop = ["maildir:var/mail"]', f'next_hop = ["{url}"]')
        return findings(run, "relay.next_hop.1")

    def ca(self, folder: Path) -> str:
        AUTHORITY.cert_pem.write_to_path(str(folder / "ca.pem"))
        return "ca=ca.pem"

    def test_in_clear(self, run: Run, settings: Settings) -> None:
        with hop(["SIZE"]) as place:
            found = self.finding(run, settings, f"smtp://{place}?tls=none")
        assert found == [("ok", f"{place} answers")]

    def test_no_tls_where_it_would_be_nice(self, run: Run, settings: Settings) -> None:
        with hop(["SIZE"]) as place:
            found = self.finding(run, settings, f"smtp://{place}")
        assert [level for level, _ in found] == ["warning", "ok"]

    def test_no_tls_where_it_must_be(self, run: Run, settings: Settings) -> None:
        with hop(["SIZE"]) as place:
            [(level, text)] = self.finding(run, settings, f"smtp://{place}?tls=required")
        assert level == "problem"
        assert "does not offer STARTTLS" in text

    def test_signs_in(self, folder: Path, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"], ["AUTH PLAIN"]) as place:
            found = self.finding(run, settings, f"smtp://ann:secret@{place}?{self.ca(folder)}")
        assert found == [("ok", f"{place} answers, with TLS, and lets ann sign in")]

    def test_wrong_password(self, folder: Path, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"], ["AUTH PLAIN"]) as place:
            [(level, text)] = self.finding(run, settings, f"smtp://ann:hunter2@{place}?{self.ca(folder)}")
        assert level == "problem"
        assert "refuses the user and password (reply 535)" in text
        assert "hunter2" not in run("doctor").output

    def test_no_auth(self, folder: Path, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"], ["AUTH CRAM-MD5"]) as place:
            [(level, text)] = self.finding(run, settings, f"smtp://ann:secret@{place}?{self.ca(folder)}")
        assert level == "problem"
        assert "does not offer AUTH PLAIN or LOGIN" in text

    def test_certificate_of_nobody_we_know(self, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"]) as place:
            [(level, text)] = self.finding(run, settings, f"smtp://{place}?tls=required")
        assert level == "problem"
        assert "certificate that is not valid here" in text

    def test_certificate_of_another_name(self, folder: Path, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"], name="other.example.com") as place:
            [(level, text)] = self.finding(run, settings, f"smtp://{place}?tls=required&{self.ca(folder)}")
        assert level == "problem"
        assert "certificate that is not valid here" in text

    def test_certificate_whose_subject_alone_has_the_name(self, folder: Path, run: Run, settings: Settings) -> None:
        """The gateway itself would not take it (RFC 9525)."""
        with hop(["STARTTLS"], name="", common_name="localhost") as place:
            [(level, text)] = self.finding(run, settings, f"smtp://{place}?tls=required&{self.ca(folder)}")
        assert level == "problem"
        assert "certificate that is not valid here" in text

    def test_certificate_not_asked_for(self, run: Run, settings: Settings) -> None:
        with hop(["STARTTLS"]) as place:
            found = self.finding(run, settings, f"smtp://{place}?tls=required&verify=no")
        assert found == [("ok", f"{place} answers, with TLS")]

    def test_tls_from_the_start_where_there_is_none(self, run: Run, settings: Settings) -> None:
        with hop([]) as place:
            [(level, text)] = self.finding(run, settings, f"smtps://{place}")
        assert level == "problem"
        assert "fails at TLS" in text

    def test_nobody_there(self, run: Run, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        [(level, text)] = self.finding(run, settings, f"smtp://127.0.0.1:{port}")
        assert level == "problem"
        assert "refuses the connection" in text

    def test_maildir_in_a_file(self, folder: Path, run: Run, settings: Settings) -> None:
        (folder / "file").write_text("")
        [(level, text)] = self.finding(run, settings, "maildir:file/mail")
        assert level == "problem"
        assert "is not a folder" in text
