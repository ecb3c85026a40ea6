"""`login test`."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from click.testing import Result
from sqlalchemy import Connection, insert

from gateway.accounts.credentials import stored_chosen, stored_random
from gateway.accounts.seal import Seal
from gateway.store import credentials, domains
from gateway.store.clock import now, today
from gateway.store.schema import lockout, suspension

Run = Callable[..., Result]
Put = Callable[..., None]
V4, V6 = "192.0.2.7/32", "2001:db8:1:2::/64"
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()

ROWS = [
    (1, "ann@example.com", HASH, 1),
    (2, "off@example.com", HASH, 0),
    (3, "null@example.com", None, 1),
    (4, "odd@example.com", "md5:" + "5ebe" * 8, 1),
    (5, "Twice@example.com", HASH, 1),
    (6, "twice@example.com", HASH, 1),
]


@pytest.fixture(autouse=True)
def _own_table(folder: Path, settings: Callable[..., None]) -> None:
    own = sqlite3.connect(folder / "own.db")
    own.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, password_hash TEXT, is_active INTEGER)")
    own.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", ROWS)
    own.commit()
    own.close()
    settings("sqlite:///var/accounts.db", "sqlite:///own.db")


@pytest.mark.parametrize(
    ("login", "password", "reply", "why"),
    [
        ("ANN@example.com", "secret", "235 2.7.0", "the password of account 1 is right"),
        ("ann@example.com", "Secret", "535 5.7.8", "account 1 has another password"),
        (
            "bob@example.com",
            "secret",
            "535 5.7.8",
            'no row of "users" has this login in column "email", and no SMTP user this name',
        ),
        ("x" * 255, "secret", "535 5.7.8", "no account can have this login"),
        ("off@example.com", "secret", "535 5.7.8", 'account 2 is right, but it is disabled ("is_active"'),
        ("off@example.com", "wrong", "535 5.7.8", "account 2 has another password, but it is disabled"),
        ("null@example.com", "", "535 5.7.8", "account 3 has no password"),
        ("odd@example.com", "secret", "454 4.7.0", "a stored hash of an unknown kind"),
        ("twice@example.com", "secret", "454 4.7.0", "ids 5, 6"),
    ],
)
def test_reply_and_reason(run: Run, login: str, password: str, reply: str, why: str) -> None:
    result = run("login", "test", login, "--password-stdin", stdin=password + "\n")
    first, second = result.stdout.splitlines()
    assert first.startswith(f"Reply: {reply} ")
    assert second.startswith("Why: ")
    assert why in second
    assert result.exit_code == (0 if reply.startswith("235") else 1)
    assert "$2b$" not in result.output
    assert "5ebe" not in result.output


def test_the_password_is_asked_for_once_and_not_shown(run: Run) -> None:
    result = run("login", "test", "ann@example.com", stdin="secret\n")
    assert result.exit_code == 0
    assert "secret" not in result.output


@pytest.mark.parametrize("url", ["sqlite:///gone.db", "postgresql://app:hidden@127.0.0.1:1/app"])
def test_table_away(folder: Path, run: Run, settings: Callable[..., None], url: str) -> None:
    settings("sqlite:///own.db", url)
    result = run("login", "test", "ann@example.com", "--password-stdin", stdin="secret")
    assert result.exit_code == 1
    assert "Reply: 454 4.7.0" in result.stdout
    assert "could not be checked" in result.stdout
    assert "hidden" not in result.output
    assert not (folder / "gone.db").exists()


def test_missing_column(run: Run, settings: Callable[..., None]) -> None:
    settings("# [accounts.columns]", '[accounts.columns]\nactive = "enabled"')
    result = run("login", "test", "ann@example.com", "--password-stdin", stdin="secret")
    assert result.exit_code == 1
    assert "enabled" in result.stdout


def lock(connection: Connection, scope: str, subject: str, network: str, *, left: float = 200.0, stored_tag: str = "") -> None:
    values = {"scope": scope, "subject": subject, "stored_tag": stored_tag, "network": network}
    connection.execute(insert(lockout).values(at=now() - 60.0, until=now() + left), values)


def suspend(connection: Connection, account: str, *, lifted: bool = False) -> None:
    values = {"account_id": account, "daily_limit": 5, "used": 5}
    at_last = {"lifted": now()} if lifted else {}
    connection.execute(insert(suspension).values(at=now() - 7200.0, day=today(), **at_last), values)


class TestWhatElseIsInTheWay:
    def also(self, run: Run, login: str, password: str = "secret") -> tuple[int, list[str]]:
        """Exit status, and the lines after the reply and its reason."""
        result = run("login", "test", login, "--password-stdin", stdin=password + "\n")
        assert result.stderr == ""
        first, second, *others = result.stdout.splitlines()
        assert (first[:7], second[:5]) == ("Reply: ", "Why: ")
        return result.exit_code, others

    def test_nothing(self, run: Run, put: Put) -> None:
        put(suspend, "1", lifted=True)
        put(suspend, "2")
        put(lock, "account_network", "a:1", V4, left=-1.0)
        put(lock, "account_network", "a:2", V4)
        put(lock, "account_network", "l:ann@example.com", V4)
        put(lock, "network", "", V4)
        assert self.also(run, "ann@example.com") == (0, [])

    @pytest.mark.parametrize(("password", "status"), [("secret", 0), ("wrong", 1)])
    def test_a_suspension(self, run: Run, put: Put, password: str, status: int) -> None:
        put(suspend, "1")
        assert self.also(run, "Ann@example.com", password) == (
            status,
            [
                "Also: account 1 is suspended for its daily limit: MAIL would get 550 5.7.1; "
                "`smtp-gateway suspensions lift 1` ends that"
            ],
        )

    @pytest.mark.parametrize(
        ("login", "subject"), [("Ann@example.com", "a:1"), ("Bob@example.com", "l:bob@example.com"), ("off@example.com", "a:2")]
    )
    def test_lockouts(self, run: Run, put: Put, login: str, subject: str) -> None:
        put(lock, "account_network", subject, V4, left=200.0)
        put(lock, "account", subject, "", left=30.0)
        assert self.also(run, login)[1] == [
            f"Also: locked out from {V4} for 4 more minutes: from there it would get 454",
            "Also: locked out from every network that it is not known from for 1 more minute: from there it would get 454",
        ]

    def test_a_lockout_inside_a_known_network(self, run: Run, put: Put) -> None:
        put(lock, "account_trust_network", "a:1", "192.0.2.0/24")
        (told,) = self.also(run, "ann@example.com")[1]
        assert told.startswith("Also: locked out from addresses of 192.0.2.0/24 where it has not signed in for 4 more minutes:")

    def test_a_lockout_from_before_the_password_was_changed_holds_no_more(
        self, folder: Path, run: Run, put: Put, settings: Callable[..., None]
    ) -> None:
        put(lock, "account_network", "a:1", V4, stored_tag=Seal(b"x" * 40).tag(HASH))
        put(lock, "account_network", "a:1", V6, stored_tag=Seal(b"x" * 40).tag("an older one"))
        assert len(self.also(run, "ann@example.com")[1]) == 2  # nobody can tell without the key
        assert not (folder / "var/secret").exists()
        settings('hostname = "localhost"', f'hostname = "localhost"\nsecret = "{"x" * 40}"')
        assert [line.split()[4] for line in self.also(run, "ann@example.com")[1]] == [V4]

    def test_the_key_of_the_state_directory(self, folder: Path, run: Run, put: Put) -> None:
        (folder / "var/secret").write_bytes(b"k" * 32)
        put(lock, "account_network", "a:1", V4, stored_tag=Seal(b"k" * 32).tag(HASH))
        put(lock, "account_network", "a:1", V6, stored_tag=Seal(b"x" * 32).tag(HASH))
        assert [line.split()[4] for line in self.also(run, "ann@example.com")[1]] == [V4]

    def test_many_lockouts(self, run: Run, put: Put) -> None:
        for n in range(13):
            put(lock, "account_network", "a:1", f"192.0.2.{n}/32")
        status, lines = self.also(run, "ann@example.com")
        assert (status, len(lines), lines[-1]) == (0, 11, "Also: locked out by 3 lockouts more: `smtp-gateway lockouts list`")

    @pytest.mark.parametrize("login", ["x" * 255, "a\nb@example.com", "\udcff@example.com", ""])
    def test_no_login(self, run: Run, login: str) -> None:
        assert self.also(run, login) == (1, [])

    def test_the_store_away(self, folder: Path, run: Run) -> None:
        (folder / "var/gateway.db").unlink()
        status, [line] = self.also(run, "ann@example.com")
        assert status == 0
        assert line.startswith("Also: whether it is locked out or suspended is not known: ")
        assert "gateway.db" in line

    def test_the_login_table_away(self, folder: Path, run: Run, put: Put) -> None:
        put(lock, "account_network", "l:ann@example.com", V4)
        (folder / "own.db").unlink()
        assert self.also(run, "ann@example.com") == (1, [])


class TestAnSmtpUser:
    """Of the domains of accounts 1, 2 and 9, which is gone; and one whose name is a login."""

    @pytest.fixture(autouse=True)
    def _users(self, put: Callable[..., None]) -> None:
        def users(connection: Connection) -> None:
            for account in ("1", "2", "9"):
                domains.add(connection, f"shop{account}.example", account)
                credentials.create(connection, f"till@shop{account}.example", stored_random("random"))
            credentials.create(connection, "fax@shop1.example", stored_chosen("correct horse"))
            domains.add(connection, "example.com", "1")
            credentials.create(connection, "ann@example.com", stored_random("random"))

        put(users)

    @pytest.mark.parametrize(
        ("name", "password", "reply", "why"),
        [
            (
                "Till@Shop1.example",
                "random",
                "235 2.7.0",
                "the password of SMTP user till@shop1.example of account 1 is right; "
                "it may send messages of up to 26214400 octets as shop1.example",
            ),
            ("till@shop1.example", "Random", "535 5.7.8", "SMTP user till@shop1.example of account 1 has another password"),
            ("till@shop1.example", "secret", "535 5.7.8", "SMTP user till@shop1.example of account 1 has another password"),
            ("fax@shop1.example", "correct horse", "235 2.7.0", "of SMTP user fax@shop1.example of account 1 is right"),
            ("fax@shop1.example", "random", "535 5.7.8", "SMTP user fax@shop1.example of account 1 has another password"),
            (
                "till@shop2.example",
                "random",
                "535 5.7.8",
                'of SMTP user till@shop2.example of account 2 is right, but its account is disabled ("is_active"',
            ),
            (
                "till@shop9.example",
                "random",
                "535 5.7.8",
                'SMTP user till@shop9.example belongs to account 9, and no row of "users" has this id',
            ),
            ("ann@example.com", "random", "535 5.7.8", "Why: account 1 has another password"),
            ("ann@example.com", "secret", "235 2.7.0", "the password of account 1 is right"),
        ],
    )
    def test_reply_and_reason(self, run: Run, name: str, password: str, reply: str, why: str) -> None:
        result = run("login", "test", name, "--password-stdin", stdin=password + "\n")
        assert result.stdout.startswith(f"Reply: {reply} ")
        assert why in result.stdout
        assert result.exit_code == (0 if reply.startswith("235") else 1)

    def test_what_else_is_in_the_way(self, run: Run, put: Put) -> None:
        """Its own lockouts, and its account's suspension."""
        numbers: dict[str, int] = {}
        put(lambda connection: numbers.update({each.name: each.id for each in credentials.listing(connection)}))
        put(lock, "account_network", f"c:{numbers['till@shop1.example']}", V4)
        put(lock, "account_network", f"c:{numbers['fax@shop1.example']}", V6)
        put(lock, "account", "a:1", "")
        put(suspend, "1")
        result = run("login", "test", "till@shop1.example", "--password-stdin", stdin="random\n")
        locked, suspended = result.stdout.splitlines()[2:]
        assert f"locked out from {V4} for 4 more minutes" in locked
        assert "account 1 is suspended" in suspended

    def test_an_account_that_lives_on_its_smtp_users_alone(self, folder: Path, run: Run, settings: Callable[..., None]) -> None:
        own = sqlite3.connect(folder / "own.db")
        own.execute("ALTER TABLE users ADD COLUMN smtp INTEGER NOT NULL DEFAULT 0")
        own.commit()
        own.close()
        settings("# [accounts.columns]", '[accounts.columns]\nsmtp_enabled = "smtp"')
        assert run("login", "test", "ann@example.com", "--password-stdin", stdin="secret").exit_code == 1
        assert run("login", "test", "till@shop1.example", "--password-stdin", stdin="random").exit_code == 0

    def test_the_store_away(self, folder: Path, run: Run) -> None:
        """Nobody can say then; and an account needs nothing of it."""
        (folder / "var/gateway.db").unlink()
        result = run("login", "test", "till@shop1.example", "--password-stdin", stdin="random")
        assert result.exit_code == 1
        assert "Reply: 454 4.7.0" in result.stdout
        assert run("login", "test", "ann@example.com", "--password-stdin", stdin="secret").exit_code == 0
