"""Guessers are locked out, owners are not: each scope of lockout on the running program, from many addresses of loopback.

Networks are told apart by the client's own address in 127.0.0.0/8; an account is known from a /24 of it.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD, Settings, merged, run_tool
from tests.acceptance.waiting import until
from tests.acceptance.wire import HERE, Reply, attempt, greeted, plain

NEW = "tr0ub4dor&3"
WRONG = "535 5.7.8"
GUESSER = "127.0.0.2"
OFFICE = "127.0.7.1"
STRANGER = "127.0.99.1"
MANY = 1000
PATIENT: Settings = {  # a session may be refused as often as it likes, and no longer than a hash takes
    "limits": {"auth_failures_per_session": 10 * MANY, "errors_per_session": 10 * MANY},
    "lockout": {"delay": "0s"},
}


def guesses(count: int, first: int = 0) -> list[str]:
    return [f"guess {number}" for number in range(first, first + count)]


def tried(gateway: GatewayProcess, source: str, passwords: Sequence[str], login: str = LOGIN) -> list[str]:
    """The heads of the replies to these passwords, in one session from `source`."""
    with greeted(gateway, source) as wire:
        return [wire.sign_in(login, password).head for password in passwords]


def is_locked(said: Reply) -> bool:
    return said.head == "454 4.7.0" and "Too many failed sign-in attempts; try again in" in said.text


def tool(gateway: GatewayProcess, *arguments: str) -> str:
    done = run_tool(gateway.at.folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lockouts(gateway: GatewayProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(tool(gateway, "lockouts", "list", "--json"))
    return found


@pytest.fixture
def patient(install: Install) -> GatewayProcess:
    return install(PATIENT).start()


# One account, one network


def test_five_guesses_lock_their_network_out_of_that_account_and_nobody_else(patient: GatewayProcess) -> None:
    patient.at.accounts.add("bob@example.com", PASSWORD)
    assert tried(patient, GUESSER, guesses(5)) == [WRONG] * 5
    hashes = patient.hashes
    said = attempt(patient, source=GUESSER)
    assert is_locked(said)
    assert said.text.endswith("try again in 5 minutes")
    assert is_locked(attempt(patient, password="guess 5", source=GUESSER))
    assert patient.hashes == hashes  # who is locked out costs none
    assert attempt(patient, "bob@example.com", source=GUESSER).code == 235
    for elsewhere in ("127.0.0.3", STRANGER):
        assert attempt(patient, source=elsewhere).code == 235
    assert attempt(patient, password="guess 6", source=STRANGER).head == WRONG
    assert is_locked(attempt(patient, source=GUESSER))  # its neighbour's sign-in does not open it
    assert patient.figure("lockouts_total", scope="account_network") == patient.figure("lockouts_total") == 1
    assert patient.figure("lockouts_active") == 1
    assert len(patient.logged("sign-in", network=f"{GUESSER}/32", result="locked")) == 3
    for secret in (*guesses(7), PASSWORD, LOGIN, plain(LOGIN, PASSWORD)):
        assert secret not in patient.raw_log()


def test_a_login_without_an_account_is_locked_alike(patient: GatewayProcess) -> None:
    replies = []
    for login in (LOGIN, "nobody@example.com"):
        with greeted(patient, GUESSER) as wire:
            replies.append([wire.sign_in(login, password) for password in guesses(7)])
    assert replies[0] == replies[1]
    assert [reply.code for reply in replies[0]] == [535] * 5 + [454] * 2


def test_one_wrong_password_again_and_again_counts_once_and_costs_one_hash(patient: GatewayProcess) -> None:
    assert set(tried(patient, GUESSER, ["guess"] * 10)) == {WRONG}
    assert set(tried(patient, GUESSER, ["guess"] * 10, "nobody@example.com")) == {WRONG}
    assert patient.hashes == 2
    assert attempt(patient, source=GUESSER).code == 235


def test_one_wrong_password_from_forty_connections_at_once_costs_one_hash(patient: GatewayProcess) -> None:
    wires = [greeted(patient, GUESSER) for _ in range(40)]
    for wire in wires:
        wire.send(f"AUTH PLAIN {plain(LOGIN, 'guess')}\r\n".encode())
    assert {wire.reply().head for wire in wires} == {WRONG}
    for wire in wires:
        wire.close()
    assert patient.hashes == 1
    assert attempt(patient, source=GUESSER).code == 235


def test_a_success_clears_the_sheet_of_its_own_network_only(patient: GatewayProcess) -> None:
    for source, first in ((GUESSER, 0), (STRANGER, 10), (GUESSER, 20)):  # what one was refused costs the other nothing
        assert set(tried(patient, source, guesses(4, first))) == {WRONG}
        if source == GUESSER:
            assert attempt(patient, source=GUESSER).code == 235
    assert tried(patient, STRANGER, guesses(2, 30)) == [WRONG, "454 4.7.0"]


def test_a_lock_ends_by_itself_and_the_next_one_lasts_twice_as_long(install: Install) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "0s", "failures": 2, "duration": "3s"}})).start()
    assert set(tried(gateway, GUESSER, guesses(2))) == {WRONG}
    until(lambda: attempt(gateway, password="guess 2", source=GUESSER).head == WRONG, gateway.story)
    assert attempt(gateway, password="guess 3", source=GUESSER).head == WRONG
    # as the log has it: by the time an operator's command has started, a lock so short may be over
    assert [line["seconds"] for line in gateway.logged("locked out")] == [3, 6]


BURSTS = [
    pytest.param([GUESSER] * 50, {}, 5, id="one network"),
    pytest.param([f"127.2.{number}.1" for number in range(50)], {"account_failures": 10}, 10, id="many networks"),
]


@pytest.mark.parametrize(("sources", "rules", "limit"), BURSTS)
def test_fifty_guesses_at_once_get_no_more_than_the_limit(
    install: Install, sources: list[str], rules: Settings, limit: int
) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "0s", **rules}}))
    gateway.at.accounts.set_password(LOGIN, PASSWORD, cost=9)  # long enough that all are there before one is done
    gateway.start()
    wires = [greeted(gateway, source) for source in sources]
    for wire, password in zip(wires, guesses(50), strict=True):
        wire.send(f"AUTH PLAIN {plain(LOGIN, password)}\r\n".encode())
    heads = Counter(wire.reply().head for wire in wires)
    for wire in wires:
        wire.close()
    assert heads == {WRONG: limit, "454 4.7.0": 50 - limit}
    assert gateway.hashes == limit
    assert is_locked(attempt(gateway, source=sources[0]))


# One account, many networks


def test_fifty_guesses_from_many_networks_lock_the_unknown_ones_and_not_the_known_one(patient: GatewayProcess) -> None:
    patient.at.accounts.add("bob@example.com", PASSWORD)
    assert attempt(patient).code == 235
    for number, password in enumerate(guesses(50)):
        assert attempt(patient, password=password, source=f"127.1.{number}.1").head == WRONG
    assert is_locked(attempt(patient, password="guess 50", source="127.1.50.1"))
    assert is_locked(attempt(patient, source=STRANGER))  # though it is right
    assert attempt(patient).code == 235
    assert attempt(patient, password="mistyped").head == WRONG
    assert attempt(patient, source="127.0.0.250").code == 235  # the same /24
    assert attempt(patient, "bob@example.com", source=STRANGER).code == 235
    (lock,) = lockouts(patient)
    assert (lock["scope"], lock["account_id"], lock["network"]) == ("account", "1", None)


# One network, many accounts


def people(gateway: GatewayProcess, count: int) -> list[str]:
    logins = [f"p{number}@example.com" for number in range(count)]
    for login in logins:
        gateway.at.accounts.add(login, PASSWORD)
    return logins


def test_one_password_sprayed_over_ten_accounts_locks_the_network(patient: GatewayProcess) -> None:
    logins = [*people(patient, 5), *(f"nobody{number}@example.com" for number in range(5))]
    for login in ("insider@example.com", "other@example.com"):
        patient.at.accounts.add(login, PASSWORD)
    assert attempt(patient, "insider@example.com", source=OFFICE).code == 235
    assert [attempt(patient, login, "Summer2026", OFFICE).head for login in logins] == [WRONG] * 10
    for login in ("other@example.com", "nobody9@example.com", "nobody10@example.com", *logins):
        assert is_locked(attempt(patient, login, source=OFFICE))
    assert attempt(patient, "insider@example.com", source=OFFICE).code == 235
    refusals = {attempt(patient, login, "mistyped", OFFICE) for login in ("insider@example.com", "nobody11@example.com")}
    assert len(refusals) == 1  # or the office could find out who is known there
    assert is_locked(refusals.pop())
    assert attempt(patient, "other@example.com", source=STRANGER).code == 235
    (lock,) = lockouts(patient)
    assert (lock["scope"], lock["account_id"], lock["network"]) == ("network", None, f"{OFFICE}/32")


def test_guesses_from_new_addresses_of_a_known_network_are_bounded(patient: GatewayProcess) -> None:
    """300 of 300 were tried once; where the owner signs in nothing is held up."""
    own, neighbours = "127.7.7.7", [f"127.7.7.{n}" for n in range(10, 80)]
    assert attempt(patient, source=own).code == 235
    heads = [attempt(patient, password=f"guess {n}", source=source).head for n, source in enumerate(neighbours)]
    assert heads.count(WRONG) == 50
    assert is_locked(attempt(patient, source="127.7.7.99"))
    assert attempt(patient, source=own).code == 235
    assert {lock["scope"] for lock in lockouts(patient)} == {"account_trust_network"}


@pytest.mark.parametrize("restarted", [False, True])
def test_an_office_with_ten_stale_phones_keeps_working(patient: GatewayProcess, restarted: bool) -> None:
    logins = people(patient, 12)
    newcomer = logins.pop()
    assert [attempt(patient, login, source=OFFICE).code for login in logins] == [235] * 11
    for login in logins[:10]:
        patient.at.accounts.set_password(login, NEW)
    if restarted:  # then nothing knows any more that the old passwords were ever right
        assert patient.stop() == 0
        patient.start()
    for login in logins[:10]:
        assert set(tried(patient, OFFICE, [PASSWORD] * 3, login)) == {WRONG}
    assert [attempt(patient, login, NEW, OFFICE).code for login in logins[:10]] == [235] * 10
    assert attempt(patient, logins[10], source=OFFICE).code == 235
    assert attempt(patient, newcomer, source=OFFICE).code == 235
    assert lockouts(patient) == []


# Stale passwords


def retry(gateway: GatewayProcess, source: str, times: int) -> Counter[str]:
    """A device that tries PASSWORD so often, over forty connections."""
    with ThreadPoolExecutor(40) as threads:
        turns = [threads.submit(tried, gateway, source, [PASSWORD] * (times // 40)) for _ in range(40)]
        return Counter(head for turn in turns for head in turn.result())


def test_a_phone_that_tries_last_week_s_password_a_thousand_times(patient: GatewayProcess) -> None:
    assert attempt(patient).code == 235
    patient.at.accounts.set_password(LOGIN, NEW)
    before = patient.hashes
    assert retry(patient, HERE, MANY) == {WRONG: MANY}
    assert patient.hashes == before + 1
    assert patient.figure("auth_attempts_total", result="stale") == MANY
    assert attempt(patient, password=NEW).code == 235
    assert lockouts(patient) == []
    patient.stop()  # what is counted in memory is written down
    said = tool(patient, "login", "history", LOGIN)
    assert f"An old password is still used from: {HERE}/32" in said
    (stale,) = [line for line in json.loads(tool(patient, "login", "history", LOGIN, "--json")) if line["result"] == "stale"]
    assert (stale["network"], stale["count"]) == (f"{HERE}/32", MANY)


@pytest.mark.parametrize("source", [HERE, STRANGER])
def test_a_process_that_never_verified_the_old_password_counts_it_once(patient: GatewayProcess, source: str) -> None:
    assert attempt(patient).code == 235
    patient.at.accounts.set_password(LOGIN, NEW)
    assert patient.stop() == 0
    patient.start()
    assert set(tried(patient, source, [PASSWORD] * 20)) == {WRONG}
    assert patient.hashes == 1
    assert set(tried(patient, source, guesses(3))) == {WRONG}  # with the old one, four
    assert attempt(patient, password=NEW, source=source).code == 235


# What ends a lock, and what does not


def lock(gateway: GatewayProcess, source: str = GUESSER) -> None:
    assert set(tried(gateway, source, guesses(5))) == {WRONG}
    assert is_locked(attempt(gateway, source=source))


def test_a_changed_password_opens_a_locked_account_at_once(install: Install) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "0s", "account_failures": 6}})).start()
    lock(gateway)
    assert attempt(gateway, password="guess 5", source="127.0.3.1").head == WRONG
    assert is_locked(attempt(gateway, source=STRANGER))
    gateway.at.accounts.set_password(LOGIN, NEW)
    assert attempt(gateway, password=NEW, source=GUESSER).code == 235
    assert attempt(gateway, password=NEW, source=STRANGER).code == 235
    assert set(tried(gateway, "127.0.4.1", guesses(5))) == {WRONG}  # a clean sheet, and counted again
    assert is_locked(attempt(gateway, password=NEW, source="127.0.4.1"))


def test_locks_and_known_networks_survive_a_stop_and_a_crash(patient: GatewayProcess) -> None:
    assert attempt(patient).code == 235
    lock(patient)
    for end in (patient.stop, patient.kill):
        end()
        patient.start()
        assert is_locked(attempt(patient, source=GUESSER))
    for number in range(50):
        assert attempt(patient, password=f"new guess {number}", source=f"127.1.{number}.1").code in (535, 454)
    assert is_locked(attempt(patient, source=STRANGER))
    assert attempt(patient).code == 235


def test_lockouts_are_listed_and_cleared_beside_the_running_gateway(patient: GatewayProcess) -> None:
    patient.at.accounts.add("bob@example.com", PASSWORD)
    lock(patient)
    assert set(tried(patient, STRANGER, guesses(5), "nobody@example.com")) == {WRONG}
    listed = {(one["scope"], one["account_id"], one["login"], one["network"]) for one in lockouts(patient)}
    assert listed == {
        ("account_network", "1", None, f"{GUESSER}/32"),
        ("account_network", None, "nobody@example.com", f"{STRANGER}/32"),
    }
    refused = run_tool(patient.at.folder, "lockouts", "clear", "bob@example.com")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    for name in (LOGIN, STRANGER):
        tool(patient, "lockouts", "clear", name)
    assert lockouts(patient) == []
    assert attempt(patient, source=GUESSER).code == 235
    assert attempt(patient, "nobody@example.com", source=STRANGER).head == WRONG


def test_the_history_of_an_account_beside_the_running_gateway(patient: GatewayProcess) -> None:
    lock(patient)
    assert attempt(patient).code == 235
    assert attempt(patient).code == 235

    def told() -> dict[tuple[str, str], int]:
        lines = json.loads(tool(patient, "login", "history", LOGIN, "--json"))
        return {(line["network"], line["result"]): line["count"] for line in lines}

    expected = {(f"{HERE}/32", "ok"): 2, (f"{GUESSER}/32", "wrong"): 5, (f"{GUESSER}/32", "locked"): 1}
    until(lambda: told() == expected, told.__name__)
    assert run_tool(patient.at.folder, "login", "history", "nobody@example.com").returncode == 1


# Settings


@pytest.mark.parametrize("rules", [{"failures": 0}, {"allow": ["127.0.0.0/30"]}])
def test_a_count_of_0_and_an_allowed_network_lock_nobody(install: Install, rules: Settings) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "0s", **rules}})).start()
    assert set(tried(gateway, GUESSER, guesses(20))) == {WRONG}
    assert attempt(gateway, source=GUESSER).code == 235


def test_addresses_of_one_prefix_are_one_network(install: Install) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "0s", "ipv4_prefix": 24}})).start()
    for number in range(5):
        assert attempt(gateway, password=f"guess {number}", source=f"127.0.5.{number + 1}").head == WRONG
    assert is_locked(attempt(gateway, source="127.0.5.77"))
    assert attempt(gateway, source="127.0.6.1").code == 235
    assert [one["network"] for one in lockouts(gateway)] == ["127.0.5.0/24"]


def test_ipv6_counts_by_prefix(install: Install) -> None:
    gateway = install(merged(PATIENT, {"listen": [{"address": "::1", "port": 0, "security": "starttls"}]})).start()
    lock(gateway, "::1")
    assert [one["network"] for one in lockouts(gateway)] == ["::/64"]
    tool(gateway, "lockouts", "clear", "::1234")  # another address of it
    assert attempt(gateway, source="::1").code == 235


def test_no_refusal_leaves_before_the_delay(install: Install) -> None:
    gateway = install(merged(PATIENT, {"lockout": {"delay": "700ms", "failures": 2}})).start()
    for password, code in (("guess 0", 535), ("guess 0", 535), ("guess 1", 535), ("guess 1", 454), (PASSWORD, 454)):
        with greeted(gateway) as wire:
            began = time.monotonic()
            assert wire.sign_in(password=password).code == code
            assert time.monotonic() - began >= 0.7
