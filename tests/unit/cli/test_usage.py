"""`usage ...` over rows put into the store by hand."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Connection, insert

from gateway.cli import billing
from gateway.store.clock import now, today
from gateway.store.schema import credential, domain, suspension, usage_day

Run = Callable[..., Result]
Put = Callable[..., None]
Settings = Callable[..., None]

DEMO = "1"  # demo@example.com, whom `init` made
GONE = "gone-77"
HEADING = "account_id,login,day,messages,to,cc,bcc,recipients,bytes,refusals"


def sent(connection: Connection, account: str, ago: int = 0, *, to: int = 1, cc: int = 0, bcc: int = 0, size: int = 10) -> None:
    """`ago` days ago, in one message, with two refusals."""
    counts = {"messages": 1, "to_recipients": to, "cc_recipients": cc, "bcc_recipients": bcc, "bytes": size, "refusals": 2}
    connection.execute(insert(usage_day).values(day=today() - ago), {"account_id": account, **counts})


def sent_on(connection: Connection, account: str, day: str, to: int) -> None:
    counts = {"messages": 1, "to_recipients": to, "cc_recipients": 1, "bcc_recipients": 2, "bytes": 2**40, "refusals": 0}
    connection.execute(insert(usage_day), {"account_id": account, "day": number(day), **counts})


def suspended(connection: Connection, account: str) -> None:
    values = {"account_id": account, "daily_limit": 5, "used": 4}
    connection.execute(insert(suspension).values(at=now() - 7200.0, day=today()), values)


def user(connection: Connection, name: str, account: str) -> None:
    """An SMTP user of a domain of the account."""
    of = name.partition("@")[2]
    connection.execute(insert(domain).values(added=now()), {"name": of, "account_id": account})
    values = {"domain": of, "slot": 1, "name": name, "stored": "", "last_network": ""}
    connection.execute(insert(credential).values(changed=now()), values)


def number(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def shown(run: Run, *arguments: str) -> dict[str, Any]:
    result = run("usage", "show", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


class TestShow:
    def test_days(self, run: Run, put: Put) -> None:
        put(sent, DEMO, 0, to=3, cc=2, bcc=1, size=1000)
        put(sent, DEMO, 1)
        put(sent, "2", 0)
        result = run("usage", "show", "Demo@example.com")
        assert result.exit_code == 0, result.output
        first, heading, last, before, today_ = result.stdout.splitlines()
        assert first == "demo@example.com (account 1)"
        assert heading.split() == ["day", "messages", "to", "cc", "bcc", "recipients", "bytes", "refusals"]
        assert last.split()[1:] == ["1", "3", "2", "1", "6", "1000", "2"]
        assert date.fromisoformat(last.split()[0]) - date.fromisoformat(before.split()[0]) == timedelta(days=1)
        assert today_.startswith("Today: 6 of 1500 recipients; a new day begins in ")

    def test_stable_keys(self, run: Run, put: Put) -> None:
        put(sent, DEMO)
        found = shown(run, "demo@example.com")
        assert list(found) == ["account_id", "login", "credential", "used", "limit", "resets_in", "suspended_for", "days"]
        assert (found["account_id"], found["login"], found["credential"]) == ("1", "demo@example.com", None)
        assert (found["used"], found["limit"], found["suspended_for"]) == (1, 1500, None)
        assert 0 < found["resets_in"] <= 86400
        assert list(found["days"][0]) == ["day", "messages", "to", "cc", "bcc", "recipients", "bytes", "refusals"]

    def test_the_day_is_that_of_utc(self, run: Run, put: Put) -> None:
        before = datetime.now(UTC).date()
        put(sent, DEMO)
        assert before <= date.fromisoformat(shown(run, DEMO)["days"][0]["day"]) <= datetime.now(UTC).date()

    def test_as_many_days_as_asked_for(self, run: Run, put: Put) -> None:
        for ago in (0, 1, 29, 30, 799):
            put(sent, DEMO, ago, to=ago + 1)
        assert [day["to"] for day in shown(run, DEMO)["days"]] == [1, 2, 30]
        assert [day["to"] for day in shown(run, DEMO, "--days", "1")["days"]] == [1]
        assert len(shown(run, DEMO, "--days", "800")["days"]) == 5

    @pytest.mark.parametrize("days", ["0", "-1", "801", "x"])
    def test_no_number_of_days(self, run: Run, days: str) -> None:
        assert run("usage", "show", "demo@example.com", "--days", days).exit_code == 2

    def test_nothing_sent_yet(self, run: Run) -> None:
        result = run("usage", "show", "demo@example.com")
        assert result.exit_code == 0
        assert [line.split(";")[0] for line in result.stdout.splitlines()] == [
            "demo@example.com (account 1)",
            "Today: 0 of 1500 recipients",
        ]

    def test_suspended(self, run: Run, put: Put) -> None:
        put(suspended, DEMO)
        last = run("usage", "show", "demo@example.com").stdout.splitlines()[-1]
        assert last == "Suspended since 2h ago; `smtp-gateway suspensions lift 1` ends that."
        assert shown(run, DEMO)["suspended_for"] == pytest.approx(7200, abs=60)

    def test_an_account_that_is_gone(self, run: Run, put: Put) -> None:
        put(sent, GONE, 40)
        result = run("usage", "show", GONE)
        assert (result.exit_code, result.stdout) == (0, f"Account {GONE}\nToday: 0 recipients.\n")
        assert shown(run, GONE)["limit"] is None

    def test_by_an_smtp_user(self, run: Run, put: Put) -> None:
        put(user, "shop@shop.example", DEMO)
        first = run("usage", "show", "SHOP@Shop.example").stdout.splitlines()[0]
        assert first == "demo@example.com (account 1), to which the SMTP user shop@shop.example belongs"
        assert shown(run, "shop@shop.example")["credential"] == "shop@shop.example"

    def test_a_login_goes_before_an_smtp_user(self, run: Run, put: Put) -> None:
        put(user, "demo@example.com", "2")
        assert shown(run, "demo@example.com")["account_id"] == "1"

    @pytest.mark.parametrize("name", ["nobody@example.com", "77", "", "a\nb\x1b[2J", "x" * 5000, "\udcff", "é@é.example"])
    def test_not_found(self, run: Run, put: Put, name: str) -> None:
        put(sent, GONE)
        result = run("usage", "show", name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert len(result.stderr) < 600
        assert "\x1b" not in result.stderr
        assert "bug" not in result.stderr

    def test_limits_of_its_own(self, folder: Path, run: Run, settings: Settings) -> None:
        settings("# [accounts.columns]", '[accounts.columns]\ndaily_recipients = "daily_recipients"')
        run("accounts", "add", "ann@example.com", "--daily-recipients", "7", "--password-stdin", stdin="secret")
        run("accounts", "add", "bob@example.com", "--daily-recipients", "0", "--password-stdin", stdin="secret")
        assert [shown(run, f"{who}@example.com")["limit"] for who in ("ann", "bob", "demo")] == [7, 0, 1500]
        assert "Today: 0 recipients, no daily limit." in run("usage", "show", "bob@example.com").stdout

    def test_the_login_table_away(self, folder: Path, run: Run, put: Put) -> None:
        put(sent, DEMO)
        (folder / "var/accounts.db").unlink()
        result = run("usage", "show", DEMO)
        assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "Account 1")
        assert result.stderr.startswith("Logins are not shown: ")
        unknown = run("usage", "show", "demo@example.com")
        assert (unknown.exit_code, len(unknown.stderr.splitlines())) == (1, 1)


def exported(run: Run, *arguments: str, month: str = "2026-02") -> str:
    result = run("usage", "export", "--month", month, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


class TestExport:
    @pytest.fixture(autouse=True)
    def _filled(self, put: Put) -> None:
        put(sent_on, DEMO, "2026-01-31", 100)
        put(sent_on, GONE, "2026-02-01", 1)
        put(sent_on, DEMO, "2026-02-01", 2)
        put(sent_on, DEMO, "2026-02-28", 3)
        put(sent_on, DEMO, "2026-03-01", 100)

    def test_csv(self, run: Run) -> None:
        assert exported(run).splitlines() == [
            HEADING,
            "1,demo@example.com,2026-02-01,1,2,1,2,5,1099511627776,0",
            f"{GONE},,2026-02-01,1,1,1,2,4,1099511627776,0",
            "1,demo@example.com,2026-02-28,1,3,1,2,6,1099511627776,0",
        ]

    def test_json(self, run: Run) -> None:
        rows = json.loads(exported(run, "--format", "json"))
        assert exported(run, "--json") == exported(run, "--format", "json")
        assert [list(row) for row in rows] == [HEADING.split(",")] * 3
        assert [(row["account_id"], row["login"], row["recipients"]) for row in rows] == [
            ("1", "demo@example.com", 5),
            (GONE, None, 4),
            ("1", "demo@example.com", 6),
        ]

    def test_totals(self, run: Run) -> None:
        assert exported(run, "--totals").splitlines() == [
            HEADING.replace("day,", ""),
            "1,demo@example.com,2,5,2,4,11,2199023255552,0",
            f"{GONE},,1,1,1,2,4,1099511627776,0",
        ]
        assert json.loads(exported(run, "--totals", "--format", "json"))[0]["recipients"] == 11

    @pytest.mark.parametrize("arguments", [(), ("--totals",)])
    def test_an_empty_month(self, run: Run, arguments: tuple[str, ...]) -> None:
        assert len(exported(run, *arguments, month="2026-04").splitlines()) == 1
        assert exported(run, *arguments, "--format", "json", month="2026-04") == "[]\n"

    @pytest.mark.parametrize("month", ["2026-13", "2026-00", "2026-1", "0000-01", "2026", "2026-02-01", "x", "", "2026-0٢"])
    def test_no_month(self, run: Run, month: str) -> None:
        result = run("usage", "export", "--month", month)
        assert (result.exit_code, result.stdout) == (2, "")
        assert 'write it like "2026-11"' in result.stderr

    def test_december_ends_with_its_year(self, run: Run, put: Put) -> None:
        put(sent_on, DEMO, "2027-12-31", 1)
        put(sent_on, DEMO, "2028-01-01", 1)
        assert [line.split(",")[2] for line in exported(run, month="2027-12").splitlines()[1:]] == ["2027-12-31"]
        assert exported(run, month="9999-12").splitlines() == [HEADING]

    def test_cells_that_spreadsheets_would_run(self, folder: Path, run: Run, put: Put) -> None:
        table = sqlite3.connect(folder / "var/accounts.db")
        run_by_some = ["=1+1@x.example", "+1@x.example", "-1@x.example", "@x", "\tx", "\rx", "\n=1", "＝1+1@x.example"]
        logins = [*run_by_some, 'say "a,b"\nc', "é=@x.example"]
        table.executemany("INSERT INTO users (id, email, password_hash) VALUES (?, ?, '')", enumerate(logins, 10))
        table.commit()
        table.close()
        for account in range(10, 20):
            put(sent_on, str(account), "2026-04-01", 1)
        put(sent_on, "-5", "2026-04-01", 1)
        rows = list(csv.reader(io.StringIO(exported(run, month="2026-04"), newline="")))[1:]
        expected = {str(n): f"'{login}" if login in run_by_some else login for n, login in enumerate(logins, 10)}
        assert {row[0]: row[1] for row in rows} == {**expected, "'-5": ""}
        exact = json.loads(exported(run, "--format", "json", month="2026-04"))
        assert {row["account_id"]: row["login"] for row in exact} == {
            **dict(zip(map(str, range(10, 20)), logins, strict=True)),
            "-5": None,
        }

    @pytest.mark.parametrize("form", ["csv", "json"])
    def test_the_login_table_away(self, folder: Path, run: Run, form: str) -> None:
        (folder / "var/accounts.db").unlink()
        result = run("usage", "export", "--month", "2026-02", "--format", form)
        assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
        assert "--no-logins" in result.stderr
        without = exported(run, "--no-logins", "--format", form)
        assert GONE in without
        assert "demo@example.com" not in without

    def test_more_accounts_than_are_asked_for_at_once(self, folder: Path, run: Run, put: Put) -> None:
        table = sqlite3.connect(folder / "var/accounts.db")
        accounts = range(1000, 1000 + 2 * billing.BATCH + 7)
        table.executemany("INSERT INTO users (id, email, password_hash) VALUES (?, ?, '')", [(n, f"u{n}@x") for n in accounts])
        table.commit()
        table.close()

        def many(connection: Connection) -> None:
            for account in accounts:
                sent_on(connection, str(account), "2026-04-01", account)

        put(many)
        rows = json.loads(exported(run, "--format", "json", month="2026-04"))
        assert [(row["login"], row["to"]) for row in rows] == [(f"u{n}@x", n) for n in accounts]
