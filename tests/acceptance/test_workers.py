"""Several processes behind one set of ports: to clients and operators they are one gateway, and each of them may die."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance import ledger as load
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN
from tests.acceptance.ledger import RECIPIENTS, Ledger
from tests.acceptance.mail import message, submit, until_arrived
from tests.acceptance.shared_store import WaitingSmarthost, shared_store
from tests.acceptance.test_lifecycle import RELOAD_REFUSED, _fails, _half_sent
from tests.acceptance.waiting import PATIENCE, until
from tests.acceptance.wire import Wire, attempt, greeted, signed_in
from tests.acceptance.worker_processes import cores_of_threads, is_there, kill, only, pids, until_back

__all__ = ["shared_store"]

TWO = {"server": {"workers": 2}}


@pytest.fixture
def two(install: Install) -> GatewayProcess:
    return install(TWO).start()


def test_mail_through_each_worker(two: GatewayProcess) -> None:
    for worker in (1, 2):
        with only(two, worker):
            submit(two, message(f"by{worker}"))
            two.until_logged("accepted", worker=worker)
    until_arrived(two, "bob@example.net", 2)
    assert {line["worker"] for line in two.logged("delivered")} <= {1, 2}
    assert not two.logged("unexpected error"), two.story()


def test_each_keeps_to_a_core_and_hashes_on_any(two: GatewayProcess) -> None:
    ours = os.sched_getaffinity(0)
    of_reactors = []
    for worker, pid in pids(two).items():
        with only(two, worker):
            assert attempt(two, password="wrong").code == 535  # a hash thread says where it runs with its first hash
        reactor, *others = cores_of_threads(pid)
        assert len(reactor) == 1
        assert ours in others
        assert all(cores in (reactor, ours) for cores in others)
        of_reactors.append(reactor)
    assert len(set().union(*of_reactors)) == min(2, len(ours))
    assert (two.at.state / "hash-slot-1").exists()  # and all together in so many slots


def test_a_lockout_made_in_one_holds_in_the_other(install: Install) -> None:
    two = install(TWO, lockout={"failures": 3}).start()
    with only(two, 1):
        assert [attempt(two, password=f"guess {number}").code for number in range(3)] == [535] * 3
    with only(two, 2):
        assert attempt(two).head == "454 4.7.0"


def test_connections_of_both_count_together(install: Install) -> None:
    two = install(TWO, limits={"connections_per_network": 3, "connections": 5}).start()
    with ExitStack() as sessions:

        def come(worker: int, source: str = "127.0.0.1") -> int:
            with only(two, worker):
                return sessions.enter_context(Wire(two.starttls, source=source)).reply().code

        assert [come(1), come(2), come(1)] == [220, 220, 220]
        assert [come(1), come(2)] == [421, 421]
        assert [come(1, "127.0.0.2"), come(2, "127.0.0.2")] == [220, 220]
        assert [come(1, "127.0.0.3"), come(2, "127.0.0.3")] == [421, 421]
        before = pids(two)[1]
        kill(two, 1)  # and with it three sessions
        until_back(two, 1, before)
        assert [come(1), come(2)] == [220, 220]
        assert come(1) == 421


def counters(gateway: GatewayProcess) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(gateway.get("/metrics")[1])
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        if family.type != "gauge"
        for sample in family.samples
    }


def test_metrics_are_those_of_all_and_never_go_backwards(two: GatewayProcess) -> None:
    for number, worker in enumerate((1, 2, 2)):
        with only(two, worker):
            submit(two, message(f"m{number}"))
    two.until_logged("delivered", 3)
    until(lambda: two.figure("messages_total", result="accepted") == 3, two.story)
    before = counters(two)
    pid = pids(two)[2]
    kill(two, 2)
    while pids(two)[2] == pid:
        now = counters(two)
        assert [name for name in before if now[name] < before[name]] == []
        before = now
    submit(two, message("after"))
    until(lambda: two.figure("messages_total", result="accepted") == 4, two.story)
    assert two.figure("build_info") == 1
    until(lambda: two.figure("connections") == 0, two.story)  # it learns of the client's end in its own time


def test_ready_while_somebody_listens(two: GatewayProcess) -> None:
    assert two.get("/healthz")[0] == 200
    assert two.get("/readyz")[0] == 200
    before = pids(two)
    kill(two, 1)
    two.until_logged("worker died", number=1, how="signal 9")
    assert two.get("/readyz")[0] == 200
    until_back(two, 1, before[1])


def test_one_killed_under_load_comes_back_and_nothing_is_lost(two: GatewayProcess) -> None:
    ledger = Ledger()
    with load.clients(two, ledger, patient=True):
        for number in (1, 2, 1):
            enough, before = len(ledger.accepted) + 20, pids(two)[number]
            until(lambda enough=enough: len(ledger.accepted) >= enough, two.story)  # type: ignore[misc]
            kill(two, number)
            until_back(two, number, before)

    def all_stored(recipient: str) -> bool:
        return ledger.accepted <= set(load.stored(two, recipient))

    for recipient in RECIPIENTS:
        until(partial(all_stored, recipient), two.story)
        assert max(load.stored(two, recipient).values()) == 1
    load.ends_empty(two)
    assert len(two.logged("worker died")) == 3


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_what_a_dead_worker_was_sending_goes_on_at_once(store: str, install: Install, request: pytest.FixtureRequest) -> None:
    with WaitingSmarthost() as hop:
        settings = {**TWO, "relay": {"next_hop": [hop.url]}}
        two = install(settings) if store == "sqlite" else request.getfixturevalue("shared_store").machine(**settings)
        two.start()
        with only(two, 1):
            submit(two, message("leased"))
            assert hop.has.acquire(timeout=PATIENCE)
        kill(two, 1)
        assert hop.has.acquire(timeout=PATIENCE)
        assert not two.logged("mail of gateways that died was taken over")  # no lease has run out
        hop.let_go.set()
        two.until_logged("delivered")


def test_a_reload_reaches_all_and_a_bad_file_none(two: GatewayProcess) -> None:
    two.at.write_settings({"limits": {"message_size": "64KiB"}})
    two.signal(signal.SIGHUP)
    two.until_logged("configuration reloaded")
    two.at.write_settings({"limits": {"message_size": "many"}})
    two.signal(signal.SIGHUP)
    (refused,) = two.until_logged(RELOAD_REFUSED)
    assert "worker" not in refused
    before = pids(two)[1]
    kill(two, 1)
    until_back(two, 1, before)  # with the settings in use: the file cannot be read any more
    for worker in (1, 2):
        with only(two, worker), signed_in(two) as wire:
            assert wire.command(f"MAIL FROM:<{LOGIN}> SIZE=65537").head == "552 5.3.4"
    assert len(two.logged("configuration reloaded")) == len(two.logged(RELOAD_REFUSED)) == 1
    two.at.write_settings({"limits": {"message_size": "64KiB"}, "server": {"workers": 3}})
    two.signal(signal.SIGHUP)
    assert two.until_logged("changes that need a restart")[0]["tables"] == "server.workers"


def test_one_that_starts_after_a_reload_serves_as_the_others_do(two: GatewayProcess) -> None:
    """On the ports that are bound and the stores that are open, whatever the file says of them by now."""
    elsewhere = f"sqlite:///{two.at.state}/nothing.db"
    listen = [{"port": 0, "security": "tls"}, {"port": 0, "security": "starttls"}, {"port": 0}]
    two.at.write_settings({"listen": listen, "accounts": {"url": elsewhere}, "store": {"url": elsewhere}})
    two.signal(signal.SIGHUP)
    assert two.until_logged("changes that need a restart")[0]["tables"] == "listen accounts store"
    before = pids(two)[1]
    kill(two, 1)
    until_back(two, 1, before)
    with only(two, 1):
        submit(two, message())
        two.until_logged("delivered", worker=1)


def test_sigterm_lets_the_transactions_of_each_finish(two: GatewayProcess) -> None:
    wires = []
    with ExitStack() as stack:
        for worker in (1, 2):
            with only(two, worker):
                wire = stack.enter_context(signed_in(two))
                wires.append((wire, _half_sent(wire)))
        idle = stack.enter_context(signed_in(two))
        workers = pids(two)
        two.signal(signal.SIGTERM)
        assert idle.reply().head == "421 4.3.2"
        for wire, rest in wires:
            wire.send(rest)
            assert wire.reply().code == 250
            assert wire.reply().head == "421 4.3.2"
    assert two.wait() == 0
    assert not any(is_there(pid) for pid in workers.values())
    assert two.lines()[-1]["event"] == "stopped"
    assert not two.logged("worker died")
    assert two.errors() == ""


def test_a_worker_told_to_end_does_so_in_order_and_comes_back(two: GatewayProcess) -> None:
    with only(two, 1):
        wire = signed_in(two)
    rest = _half_sent(wire)
    before = pids(two)[1]
    os.kill(before, signal.SIGTERM)
    with wire:
        two.until_logged("stopping", worker=1)
        wire.send(rest)
        assert wire.reply().code == 250
    until_back(two, 1, before)
    assert [line["how"] for line in two.logged("worker died")] == ["status 0"]


def test_one_port_in_use_fails_the_whole_start(install: Install) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = _fails(install(TWO, listen=[{"port": 0}, {"port": port, "security": "tls"}]))
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"listen.2.port: cannot listen on 127.0.0.1 port {port}: Address already in use; ")


def test_workers_do_not_outlive_their_parent(two: GatewayProcess) -> None:
    with only(two, 1):
        wire = signed_in(two)
    _half_sent(wire)  # and never the rest
    workers = pids(two)
    os.kill(workers[1], signal.SIGSTOP)  # or it might be gone by the time the second one has started
    two.kill()
    with wire:
        second = GatewayProcess(two.at)
        try:
            status, lines = _fails(second)
        finally:
            os.kill(workers[1], signal.SIGCONT)
        assert (status, "another gateway uses" in lines[0]) == (2, True), lines
        assert wire.reply().head == "421 4.3.2"
    until(lambda: not any(is_there(pid) for pid in workers.values()), "the workers are gone")
    two.error_file.unlink()
    two.start()
    submit(two, message())
    until_arrived(two, "bob@example.net")


def test_the_daily_limit_is_exact_over_both(install: Install) -> None:
    two = install(TWO, limits={"daily_recipients": 100, "connections_per_network": 100}).start()
    with ExitStack() as stack:
        wires = []
        for worker in (1, 2):
            with only(two, worker):
                wires += [stack.enter_context(signed_in(two)) for _ in range(20)]
        with ThreadPoolExecutor(40) as clients:
            said = [code for codes in clients.map(_send_until_refused, wires) for code in codes]
    assert said.count("250") == 100
    assert said.count("450") == 40
    until(lambda: two.figure("recipients_total") == 100, two.story)  # a worker that is busy may answer a later scrape
    until_arrived(two, "bob@example.net", 100)


def _send_until_refused(wire: Wire) -> list[str]:
    """The code of each message's last reply, the refusal included."""
    said: list[str] = []
    for number in range(200):
        for command in (f"MAIL FROM:<{LOGIN}>", "RCPT TO:<bob@example.net>"):
            reply = wire.command(command)
            if reply.code != 250:
                return [*said, str(reply.code)]
        reply = wire.data(message(f"{id(wire)}-{number}"))
        said.append(str(reply.code))
        if reply.code != 250:
            return said
    raise AssertionError(f"never refused: {said}")


def test_lines_of_all_are_in_one_log_file(install: Install) -> None:
    gateway = install(TWO)
    (gateway.at.folder / "elsewhere").mkdir(exist_ok=True)
    gateway.log_file = gateway.at.folder / "lines.log"
    gateway.spawn(twistd=("--logfile", str(gateway.log_file)))
    gateway.until_logged("started")
    assert {line["worker"] for line in gateway.until_logged("worker started", 2)} == {1, 2}
    assert gateway.stop() == 0
    assert {line.get("worker", 0) for line in gateway.logged("stopped")} == {0, 1, 2}


def test_one_worker_that_cannot_start_leaves_the_other_serving(two: GatewayProcess) -> None:
    """The certificate on disk is gone: who runs has it in memory, who begins does not."""
    certificate = two.at.certificate.read_bytes()
    two.at.certificate.unlink()
    kill(two, 1)
    (line, *_) = two.until_logged("worker cannot start")
    assert line["worker"] == 1
    assert "tls.certificate" in str(line["problems"])
    with greeted(two):
        pass
    before = pids(two)[1]
    two.at.certificate.write_bytes(certificate)
    until_back(two, 1, before)
