"""Starting, reloading and stopping: what an operator and systemd see."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.mail import message, submit, until_arrived
from tests.acceptance.smarthost import Smarthost
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, greeted, signed_in

RELOAD_REFUSED = "new configuration refused, the old one stays in use"


def _half_sent(wire: Wire) -> bytes:
    """Begin a message, and return what is still to be sent of it."""
    wire.envelope("bob@example.net")
    assert wire.command("DATA").code == 354
    octets = message("half").replace(b"\r\n.", b"\r\n..") + b".\r\n"
    wire.send(octets[:200])
    return octets[200:]


def test_no_core_is_dumped_and_state_files_are_made_private(install: Install) -> None:
    gateway = install()
    gateway.at.state.chmod(0o755)
    gateway.start()
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")] == [["0", "0"]]
    assert gateway.at.state.stat().st_mode & 0o777 == 0o700
    assert str(gateway.at.state) in {line["path"] for line in gateway.logged("state file made private")}


def test_sigterm_ends_idle_sessions_and_lets_transactions_finish(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as idle, greeted(gateway) as stranger, signed_in(gateway) as busy, signed_in(gateway) as typing:
        rest = _half_sent(busy)
        typing.envelope("carl@example.net")
        gateway.signal(signal.SIGTERM)
        for wire in (idle, stranger):
            assert wire.reply().head == "421 4.3.2"
            assert wire.rest() == b""
        busy.send(rest)
        assert busy.reply().code == 250
        assert busy.reply().head == "421 4.3.2"
        assert busy.rest() == b""
        assert typing.data(message("typed")).code == 250  # between RCPT and DATA: a transaction, too
    assert gateway.wait() == 0
    assert [line["event"] for line in gateway.lines()][-1] == "stopped"
    assert gateway.errors() == ""
    gateway.start()
    until_arrived(gateway, "bob@example.net")
    until_arrived(gateway, "carl@example.net")


def test_nobody_is_let_in_while_it_stops(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as busy:
        rest = _half_sent(busy)
        gateway.signal(signal.SIGTERM)
        until(lambda: _refused(gateway.starttls), "the port is closed")
        busy.send(rest)
        assert busy.reply().code == 250
    assert gateway.wait() == 0


def test_a_second_sigterm_changes_nothing(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as busy, signed_in(gateway) as idle:
        rest = _half_sent(busy)
        for _ in range(3):
            gateway.signal(signal.SIGTERM)
        assert idle.reply().head == "421 4.3.2"
        busy.send(rest)
        assert busy.reply().code == 250
    assert gateway.wait() == 0
    assert not gateway.logged("unexpected error"), gateway.story()


def test_a_silent_smarthost_does_not_hold_up_a_stop(install: Install, smarthost: Smarthost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections open, and nobody greets
        hop = f"smtp://127.0.0.1:{silent.getsockname()[1]}?tls=none"
        gateway = install(relay={"next_hop": [hop], "retry": ["1s"]}).start()
        submit(gateway, message("kept"))
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    assert not gateway.logged("unexpected error"), gateway.story()
    gateway.at.write_settings({"relay": {"next_hop": [smarthost.url]}})
    gateway.start()
    until(lambda: smarthost.received("bob@example.net"), gateway.story)
    gateway.until_logged("delivered")
    assert len(smarthost.deliveries) == 1


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5.0).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigint_stops_it_as_well(gateway: GatewayProcess) -> None:
    gateway.signal(signal.SIGINT)
    assert gateway.wait() == 0


def _fails(gateway: GatewayProcess) -> tuple[int, list[str]]:
    """Exit status and what it said on standard error, of a start that must not succeed."""
    gateway.spawn()
    status = gateway.wait()
    assert not gateway.logged("started")
    assert "Traceback" not in gateway.errors() + gateway.raw_log()
    return status, gateway.errors().splitlines()


def test_each_taken_port_is_named_in_one_line(install: Install) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, lines = _fails(install(listen=[{"port": port}], http={"port": port}))
    assert status == 1
    for line, key in zip(lines, ("listen.1.port", "http.port"), strict=True):
        assert line.startswith(f"{key}: cannot listen on 127.0.0.1 port {port}: Address already in use; ")


def test_all_mistakes_of_a_configuration_are_named(install: Install) -> None:
    gateway = install(
        server={"hostnam": "x"},
        limits={"message_size": "big", "recipients": 0},
        relay={"next_hop": ["smtp://smart host"], "retry": ["soon"]},
        tls={"certificate": "missing.pem"},
    )
    status, lines = _fails(gateway)
    assert status == 2
    text = "\n".join(lines)
    assert "did you mean hostname" in text
    for key in ("server.hostnam", "limits.message_size", "limits.recipients", "relay.next_hop", "relay.retry"):
        assert any(line.startswith(key) for line in lines), f"{key} in {text}"


def _no_certificate(gateway: GatewayProcess) -> str:
    gateway.at.certificate.unlink()
    return "tls.certificate"


def _no_store(gateway: GatewayProcess) -> str:
    (gateway.at.state / "gateway.db").unlink()
    return "store"


def _not_toml(gateway: GatewayProcess) -> str:
    gateway.at.config.write_text("[server\n", "utf-8")
    return str(gateway.at.config)


def _no_file(gateway: GatewayProcess) -> str:
    gateway.at.config.unlink()
    return str(gateway.at.config)


def test_what_is_wrong_on_disk_is_named_in_one_line(install: Install) -> None:
    faults: list[Callable[[GatewayProcess], str]] = [_no_certificate, _no_store, _not_toml, _no_file]
    for fault in faults:
        gateway = install()
        named = fault(gateway)
        status, lines = _fails(gateway)
        assert status == 2, (fault, lines)
        assert len(lines) == 1, lines
        assert named in lines[0]


def test_a_second_gateway_on_the_same_state_is_refused(gateway: GatewayProcess) -> None:
    second = GatewayProcess(gateway.at)
    second.error_file = gateway.at.folder / "second.err"
    second.log_file = gateway.at.folder / "second.log"
    status, lines = _fails(second)
    assert status == 2
    assert len(lines) == 1
    assert "another gateway uses" in lines[0]
    submit(gateway, message())
    until_arrived(gateway, "bob@example.net")


def test_a_reload_counts_for_open_sessions_and_drops_none(gateway: GatewayProcess) -> None:
    with signed_in(gateway) as wire:
        wire.envelope("bob@example.net")
        gateway.at.write_settings({"limits": {"message_size": "64KiB"}})
        gateway.signal(signal.SIGHUP)
        gateway.until_logged("configuration reloaded")
        assert wire.data(message()).code == 250
        assert wire.command(f"MAIL FROM:<{LOGIN}> SIZE=65537").head == "552 5.3.4"
        assert wire.command("EHLO again.example").code == 250


def test_a_reload_moves_mail_to_the_new_next_hop(gateway: GatewayProcess) -> None:
    gateway.at.write_settings({"relay": {"next_hop": ["maildir:var/other"]}})
    gateway.signal(signal.SIGHUP)
    gateway.until_logged("configuration reloaded")
    submit(gateway, message())
    until(lambda: (gateway.at.state / "other" / "bob@example.net" / "new").is_dir(), gateway.story)
    assert not gateway.at.mail.exists()


def test_a_bad_file_at_a_reload_keeps_the_old_settings(gateway: GatewayProcess) -> None:
    gateway.at.write_settings({"limits": {"message_size": "many", "recipients": -1}})
    gateway.signal(signal.SIGHUP)
    (line,) = gateway.until_logged(RELOAD_REFUSED)
    assert "limits.message_size" in str(line["problems"])
    assert "limits.recipients" in str(line["problems"])
    submit(gateway, message())
    until_arrived(gateway, "bob@example.net")
