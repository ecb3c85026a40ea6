"""SMTP users of domains on the running program: at most five, for their domain alone, gone the moment they are taken away."""

import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.acceptance.commands import new_credential, read, refused, tool
from tests.acceptance.conftest import Install
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import LOGIN, PASSWORD, run_tool
from tests.acceptance.login_table import OWN_LIMITS
from tests.acceptance.mail import message, until_arrived
from tests.acceptance.sharing import Pair, two_that_share_a_store
from tests.acceptance.waiting import until
from tests.acceptance.wire import Reply, Wire, attempt, signed_in

DOMAIN = "shop.example"
NAME = f"desk@{DOMAIN}"
OTHER_DOMAIN = "brand.example"


@pytest.fixture
def gateway(install: Install) -> GatewayProcess:
    """Its account has two domains, with an SMTP user in neither."""
    gateway = install(accounts=OWN_LIMITS).start()
    for domain in (DOMAIN, OTHER_DOMAIN):
        tool(gateway, "domains", "add", domain, LOGIN)
    return gateway


@pytest.fixture
def password(gateway: GatewayProcess) -> str:
    """Of the one SMTP user there is."""
    return new_credential(gateway, NAME)


def begin(wire: Wire, sender: str = NAME) -> Reply:
    wire.command("RSET")
    return wire.command(f"MAIL FROM:<{sender}>")


def written_by(author: str, name: str = "m") -> bytes:
    return message(name).replace(LOGIN.encode(), author.encode())


def ended(wire: Wire, said: Reply) -> bool:
    """Whether `said` was its last word."""
    wanted = ("421 4.7.0", "Your sign-in is no longer valid; sign in again", b"")
    return (said.head, said.text.partition(" ")[2], wire.rest()) == wanted


def test_of_creations_that_race_five_are_made_and_work(gateway: GatewayProcess) -> None:
    """Each is a process of its own; a sixth is refused then, too."""
    names = [f"user{number}@{DOMAIN}" for number in range(7)]

    def create(name: str) -> subprocess.CompletedProcess[str]:
        return run_tool(gateway.at.folder, "credentials", "create", name)

    with ThreadPoolExecutor(len(names)) as threads:
        done = dict(zip(names, threads.map(create, names), strict=True))
    assert Counter(each.returncode for each in done.values()) == {0: 5, 1: 2}
    full = f"{DOMAIN}: has 5 SMTP users already, which is as many as a domain may have"
    assert {each.stderr for each in done.values() if each.returncode} == {f"{full}\n"}
    made = {
        name: re.findall("^Password: (.+)$", each.stdout, re.MULTILINE) for name, each in done.items() if not each.returncode
    }
    assert [each["name"] for each in read(gateway, "credentials", "list", DOMAIN)] == sorted(made)
    for name, (password,) in made.items():
        with signed_in(gateway, name, password) as wire:
            wire.envelope("bob@example.net", sender=name)
            assert wire.data(written_by(name, name.partition("@")[0])).code == 250
    until_arrived(gateway, "bob@example.net", 5)
    assert full == refused(gateway, "credentials", "create", f"sixth@{DOMAIN}")
    assert attempt(gateway, f"sixth@{DOMAIN}", "x" * 20).head == "535 5.7.8"
    tool(gateway, "credentials", "delete", min(made))
    assert attempt(gateway, f"sixth@{DOMAIN}", new_credential(gateway, f"sixth@{DOMAIN}")).code == 235
    new_credential(gateway, f"user0@{OTHER_DOMAIN}")  # another domain has five of its own


def _reset(gateway: GatewayProcess, owner: str, name: str) -> None:
    tool(gateway, "credentials", "reset", name)


def _delete(gateway: GatewayProcess, owner: str, name: str) -> None:
    tool(gateway, "credentials", "delete", name)


def _remove_domain(gateway: GatewayProcess, owner: str, name: str) -> None:
    assert "1 SMTP user with it" in tool(gateway, "domains", "remove", name.partition("@")[2], "--yes")


def _disable_account(gateway: GatewayProcess, owner: str, name: str) -> None:
    gateway.at.accounts.set_active(owner, active=False)


def _give_login(gateway: GatewayProcess, owner: str, name: str) -> None:
    gateway.at.accounts.add(name, "a login of its own")


CHANGES = {
    "reset": (_reset, "password"),
    "deleted": (_delete, "deleted"),
    "undone": (_remove_domain, "deleted"),
    "disabled": (_disable_account, "disabled"),
    "outdone": (_give_login, "deleted"),
}


@dataclass(frozen=True)
class Victim:
    """An SMTP user of a domain and an account of its own, with a session of each kind at each of two gateways."""

    owner: str
    name: str
    password: str
    waiting: list[Wire]  # signed in
    writing: list[Wire]  # all of a message is sent but its end

    @classmethod
    def new(cls, gateways: Pair, kind: str) -> "Victim":
        owner, name = f"{kind}@example.com", f"desk@{kind}.example"
        gateways[0].at.accounts.add(owner, PASSWORD)
        tool(gateways[0], "domains", "add", f"{kind}.example", owner)
        password = new_credential(gateways[0], name)
        waiting, writing = ([signed_in(gateway, name, password) for gateway in gateways] for _ in range(2))
        for wire in writing:
            wire.envelope("bob@example.net", sender=name)
            assert wire.command("DATA").code == 354
            wire.send(written_by(name))
        return cls(owner, name, password, waiting, writing)


def test_what_is_taken_away_ends_open_sessions_of_two_gateways_at_once(install: Install) -> None:
    """At MAIL, and before the 250 of a message that was under way; nobody else's."""
    gateways = two_that_share_a_store(install)
    victims = {kind: Victim.new(gateways, kind) for kind in CHANGES}
    for kind, (change, reason) in CHANGES.items():
        victim = victims[kind]
        assert [begin(wire, victim.name).code for wire in victim.waiting] == [250, 250]
        assert [wire.command("RSET").code for wire in victim.waiting] == [250, 250]
        before = [gateway.figure("sessions_cut_total", reason=reason) for gateway in gateways]
        change(gateways[0], victim.owner, victim.name)
        for gateway, waits, writes, cut in zip(gateways, victim.waiting, victim.writing, before, strict=True):
            assert attempt(gateway, victim.name, victim.password).head == "535 5.7.8", kind
            assert ended(waits, waits.command(f"MAIL FROM:<{victim.name}>")), kind
            writes.send(b".\r\n")
            assert ended(writes, writes.reply()), kind
            assert gateway.figure("sessions_cut_total", reason=reason) - cut == 2, kind
    assert read(gateways[0], "queue", "list") == []
    assert not [line for gateway in gateways for line in gateway.logged("accepted")]


def test_a_reset_gives_a_password_that_works_and_a_chosen_one_does_too(gateway: GatewayProcess, password: str) -> None:
    made = read(gateway, "credentials", "reset", NAME)["password"]
    assert made != password
    assert [attempt(gateway, NAME, each).code for each in (password, made)] == [535, 235]
    chosen = run_tool(gateway.at.folder, "credentials", "reset", NAME, "--password-stdin", stdin="my own words\n")
    assert chosen.returncode == 0, chosen.stderr
    assert "my own words" not in chosen.stdout + chosen.stderr
    assert [attempt(gateway, NAME, each).code for each in (made, "my own words")] == [535, 235]
    everything = gateway.raw_log() + gateway.get("/metrics")[1]
    assert not [secret for secret in (password, made, "my own words") if secret in everything]


def test_a_login_of_the_same_name_wins(gateway: GatewayProcess, password: str) -> None:
    with signed_in(gateway, NAME, password) as wire:
        assert begin(wire).code == 250
        gateway.at.accounts.add(NAME, "of the login")
        assert ended(wire, begin(wire))
    assert [attempt(gateway, NAME, each).code for each in (password, "of the login")] == [535, 235]
    gateway.at.accounts.delete(NAME)
    assert [attempt(gateway, NAME, each).code for each in (password, "of the login")] == [235, 535]
    gateway.at.accounts.add(f"taken@{DOMAIN}", "of the login")
    assert "is the login of account" in refused(gateway, "credentials", "create", f"Taken@{DOMAIN}")


def test_an_account_without_smtp_lives_on_its_credential(gateway: GatewayProcess, password: str) -> None:
    gateway.at.accounts.set_size(LOGIN, 5000)  # its account's limits are its own
    with signed_in(gateway) as own, signed_in(gateway, NAME, password) as desk:
        assert "SIZE 5000" in desk.command("EHLO test.example").lines
        gateway.at.accounts.set_smtp(LOGIN, enabled=False)
        assert ended(own, begin(own, LOGIN))
        desk.envelope("bob@example.net", sender=NAME)
        assert desk.data(written_by(NAME)).code == 250
    assert attempt(gateway).head == "535 5.7.8"
    assert attempt(gateway, NAME, password).code == 235
    until_arrived(gateway, "bob@example.net")
    shown = read(gateway, "usage", "show", NAME)
    assert (shown["login"], shown["credential"], shown["used"]) == (LOGIN, NAME, 1)  # charged to the account


def test_it_sends_as_its_domain_and_as_nothing_else(gateway: GatewayProcess, password: str) -> None:
    """Its account may send as more: in the envelope, in From and in Sender."""
    foreign = (LOGIN, f"desk@{OTHER_DOMAIN}", f"desk@sub.{DOMAIN}", "desk@elsewhere.example")
    with signed_in(gateway, NAME, password) as wire, signed_in(gateway) as own:
        for sender in foreign:
            assert begin(wire, sender).head == "553 5.7.1", sender
            wire.envelope("bob@example.net", sender=NAME)
            assert wire.data(written_by(sender)).head == "553 5.7.1", sender
            wire.envelope("bob@example.net", sender=NAME)
            by = written_by(NAME).replace(b"To: ", f"Sender: {sender}\r\nTo: ".encode(), 1)
            assert wire.data(by).head == "553 5.7.1", sender
        wire.envelope("bob@example.net", sender=f"Anybody@{DOMAIN.upper()}")
        assert wire.data(written_by(f"somebody.else@{DOMAIN}", "mine")).code == 250
        wire.envelope("bob@example.net", sender="")
        assert wire.data(written_by(NAME, "receipt")).code == 250
        for sender in (f"x@{DOMAIN}", f"x@{OTHER_DOMAIN}", LOGIN):
            own.envelope("bob@example.net", sender=sender)
            assert own.data(written_by(sender, f"own-{len(sender)}")).code == 250
    until_arrived(gateway, "bob@example.net", 5)


def test_a_domain_that_moves_to_another_account_is_its_sender_s_at_once(gateway: GatewayProcess) -> None:
    """For the accounts themselves, whose open sessions live on."""
    gateway.at.accounts.add("eve@example.com", PASSWORD)
    with signed_in(gateway) as old, signed_in(gateway, "eve@example.com") as new:
        old.envelope("bob@example.net", sender=NAME)
        assert begin(new).head == "553 5.7.1"
        assert f"{DOMAIN}: belongs to {LOGIN} (account 1);" in refused(gateway, "domains", "add", DOMAIN, "eve@example.com")
        tool(gateway, "domains", "remove", DOMAIN, "--yes")
        tool(gateway, "domains", "add", DOMAIN, "eve@example.com")
        assert old.data(message("envelope")).head == "553 5.7.1"
        assert begin(old).head == "553 5.7.1"
        old.envelope("bob@example.net")
        assert old.data(written_by(NAME)).head == "553 5.7.1"
        new.envelope("bob@example.net", sender=NAME)
        assert new.data(written_by(NAME)).code == 250


GUESSER = "127.0.5.1"


@pytest.fixture
def guessed_at(install: Install) -> tuple[GatewayProcess, str]:
    """A gateway that takes any number of failures in a session; its SMTP user's password."""
    gateway = install(limits={"auth_failures_per_session": 50}).start()
    tool(gateway, "domains", "add", DOMAIN, LOGIN)
    return gateway, new_credential(gateway, NAME)


def fail(gateway: GatewayProcess, login: str) -> None:
    assert {attempt(gateway, login, f"guess {number}", GUESSER).head for number in range(5)} == {"535 5.7.8"}


def test_its_failures_lock_it_and_not_its_account(guessed_at: tuple[GatewayProcess, str]) -> None:
    gateway, password = guessed_at
    fail(gateway, NAME)
    assert attempt(gateway, NAME, password, GUESSER).head == "454 4.7.0"
    assert attempt(gateway, LOGIN, PASSWORD, GUESSER).code == 235
    assert attempt(gateway, NAME, password).code == 235  # from elsewhere
    (lockout,) = read(gateway, "lockouts", "list")
    assert (lockout["credential"], lockout["network"]) == (NAME, f"{GUESSER}/32")
    tool(gateway, "lockouts", "clear", NAME)
    assert attempt(gateway, NAME, password, GUESSER).code == 235


def test_its_account_s_failures_do_not_lock_it(guessed_at: tuple[GatewayProcess, str]) -> None:
    gateway, password = guessed_at
    fail(gateway, LOGIN)
    assert attempt(gateway, LOGIN, PASSWORD, GUESSER).head == "454 4.7.0"
    assert attempt(gateway, NAME, password, GUESSER).code == 235


def test_when_and_from_which_network_it_was_used_is_shown(gateway: GatewayProcess, password: str) -> None:
    (before,) = read(gateway, "credentials", "list")
    assert (before["last_used"], before["last_network"]) == (None, None)
    assert attempt(gateway, NAME, "wrong", "127.0.8.8").code == 535
    assert attempt(gateway, NAME, password, "127.0.5.9").code == 235

    def used() -> bool:
        (now,) = read(gateway, "credentials", "list")
        return bool(now["last_network"] == "127.0.5.9/32" and now["last_used"] is not None)

    until(used, gateway.story)

    def told() -> set[tuple[str, str]]:
        return {(line["result"], line["network"]) for line in read(gateway, "login", "history", NAME)}

    # written down by turns: a sign-in that comes between the two is in the list of credentials first
    until(lambda: told() == {("wrong", "127.0.8.8/32"), ("ok", "127.0.5.9/32")}, gateway.story)
    (line,) = gateway.logged("sign-in", result="ok")
    assert (line["account"], isinstance(line["credential"], int)) == ("1", True)
