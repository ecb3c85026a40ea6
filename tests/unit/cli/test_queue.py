"""`queue ...` over rows put into the store by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import insert

from gateway.config import load
from gateway.store.clock import now
from gateway.store.engine import opened
from gateway.store.schema import attempt, message, recipient

Run = Callable[..., Result]
A, B = "AAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBB"


MESSAGE = {"sender": "ann@example.com", "eight_bit": False, "smtputf8": False, "ret": "", "envid": "", "body_size": 5}
MESSAGE |= {"header": b"Subject: \x1b[2Jhi\r\n\r\n"}
RECIPIENT = {"domain": "example.net", "field": "to", "state": "queued", "attempts": 0, "process": None, "next_attempt": 9e9}
RECIPIENT |= {"notify": "", "orcpt": "", "delay_warned": False, "code": 0, "enhanced": "", "text": "", "hop": ""}


def put(
    folder: Path, message_id: str, age: float, *recipients: dict[str, Any], account: str = "7", file: str | None = None
) -> None:
    """A message accepted `age` seconds ago; each recipient overrides the columns it names."""
    url = load(folder / "gateway.toml", {}).store.url.get_secret_value()
    with opened(url, write=True) as connection:
        values = {**MESSAGE, "id": message_id, "account_id": account, "body_file": file}
        connection.execute(insert(message).values(accepted=now() - age), values)
        for position, given in enumerate(recipients):
            row = {**RECIPIENT, "message_id": message_id, "position": position, **given}
            finished = None if row["state"] in ("queued", "held") else now()
            connection.execute(insert(recipient).values(finished=finished), row)


@pytest.fixture
def filled(folder: Path, run: Run) -> Run:
    """Three recipients wait, one is delivered."""
    put(
        folder,
        A,
        7200,
        {"address": "one@example.net", "code": 451, "enhanced": "4.3.0", "text": "busy\x1b[31m", "hop": "mx:25", "attempts": 1},
        {"address": "two@example.org", "domain": "example.org", "field": "bcc", "state": "delivered"},
    )
    put(
        folder,
        B,
        60,
        {"address": "three@example.org", "domain": "example.org", "process": 3},
        {"address": "four@example.org", "domain": "example.org", "state": "held"},
        account="8",
    )
    return run


def listed(run: Run, *arguments: str) -> list[str]:
    return [row["address"].partition("@")[0] for row in json.loads(run("queue", "list", "--json", *arguments).stdout)]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), ["one", "three", "four"]),
        (("--state", "delivered"), ["two"]),
        (("--state", "held"), ["four"]),
        (("--account", "7"), ["one"]),
        (("--domain", "Example.ORG"), ["three", "four"]),
        (("--older-than", "1h"), ["one"]),
        (("--limit", "1"), ["one"]),
        (("--account", "1"), []),
        (("--account", "Demo@example.com"), []),
    ],
)
def test_list(filled: Run, arguments: tuple[str, ...], found: list[str]) -> None:
    assert listed(filled, *arguments) == found


def test_list_of_an_account_by_any_of_its_names(folder: Path, run: Run) -> None:
    put(folder, A, 60, {"address": "one@example.net"}, account="1")
    put(folder, B, 60, {"address": "two@example.net"}, account="2")
    run("domains", "add", "shop.example", "demo@example.com")
    run("credentials", "create", "till@shop.example")
    for name in ("1", "DEMO@example.com", "Till@Shop.example"):
        assert listed(run, "--account", name) == ["one"]


@pytest.mark.parametrize("name", ["9", "nobody@example.com", "\x1b[2J", "x" * 300])
def test_list_of_an_account_that_is_not_there(filled: Run, name: str) -> None:
    result = filled("queue", "list", "--account", name)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert "no account has this login or id" in result.stderr
    assert result.stderr.strip().isprintable()


def test_times_in_json_are_milliseconds_and_never_below_zero(folder: Path, run: Run) -> None:
    put(folder, A, 60.123456, {"address": "one@example.net", "next_attempt": 1.0})
    [row] = json.loads(run("queue", "list", "--json").stdout)
    shown = json.loads(run("queue", "show", A, "--json").stdout)
    assert (row["next_in"], shown["recipients"][0]["next_in"]) == (0, 0)
    for age in (row["age"], shown["age"], shown["recipients"][0]["age"]):
        assert age == round(age, 3) > 60


def test_list_has_stable_keys(filled: Run) -> None:
    first = json.loads(filled("queue", "list", "--json").stdout)[0]
    keys = "id message_id account_id sender address field state leased attempts age next_in code enhanced text hop hold size"
    assert list(first) == keys.split()


def test_list_for_people(filled: Run) -> None:
    result = filled("queue", "list")
    heading, one, three, four = result.stdout.splitlines()
    assert heading.split() == [
        "id",
        "message",
        "account",
        "recipient",
        "class",
        "state",
        "age",
        "attempts",
        "next",
        "last",
        "reply",
    ]
    assert one.split()[1:8] == [A, "7", "one@example.net", "to", "queued", "2h", "1"]
    assert "451 4.3.0 busy?[31m" in one
    assert "active" in three
    assert "held" in four
    assert "\x1b" not in result.stdout


def test_nothing_waits(run: Run) -> None:
    result = run("queue", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing waits.\n")
    assert json.loads(run("queue", "list", "--json").stdout) == []


def test_show(folder: Path, filled: Run) -> None:
    url = load(folder / "gateway.toml", {}).store.url.get_secret_value()
    with opened(url, write=True) as connection:
        values = {
            "recipient_id": 1,
            "result": "retry",
            "code": 451,
            "enhanced": "4.3.0",
            "text": "busy",
            "hop": "mx:25",
            "remote": "mx",
        }
        connection.execute(insert(attempt).values(at=now()), values)
    shown = filled("queue", "show", A)
    assert shown.exit_code == 0
    for words in (
        f"Message {A} of account 7",
        "<ann@example.com>",
        "one@example.net",
        "two@example.org",
        "Attempts:",
        "?[2Jhi",
    ):
        assert words in shown.stdout
    assert "\x1b" not in shown.stdout
    rows = [line.split() for line in shown.stdout.splitlines() if "@example" in line]
    assert [row[4] for row in rows if row[1] == A] == ["to", "bcc"]
    whole = json.loads(filled("queue", "show", A, "--json").stdout)
    assert [r["field"] for r in whole["recipients"]] == ["to", "bcc"]
    assert [r["state"] for r in whole["recipients"]] == ["queued", "delivered"]
    assert [a["code"] for a in whole["attempts"]] == [451]
    assert whole["header"].startswith("Subject: ")


@pytest.mark.parametrize("id_", ["1", "2", A.lower(), A])
def test_a_message_is_shown_by_any_of_its_ids(filled: Run, id_: str) -> None:
    assert json.loads(filled("queue", "show", id_, "--json").stdout)["id"] == A


def test_a_queue_id_in_small_letters(filled: Run) -> None:
    assert filled("queue", "delete", A.lower()).stdout == "1 recipient deleted.\n"


def test_retry(filled: Run) -> None:
    result = filled("queue", "retry", A)
    assert (result.exit_code, result.stdout) == (0, "1 recipient will be tried now.\n")
    assert json.loads(filled("queue", "list", "--json", "--account", "7").stdout)[0]["next_in"] <= 0


def test_retry_all_leaves_held_and_leased_ones(filled: Run) -> None:
    assert filled("queue", "retry", "--all").stdout == "1 recipient will be tried now.\n"
    assert filled("queue", "retry", "--all", "--domain", "example.org").stdout == "0 recipients will be tried now.\n"
    assert listed(filled, "--state", "held") == ["four"]


def test_retry_all_goes_on_after_its_first_step(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.queue._STEP", 2)
    put(folder, A, 60, *({"address": f"{n}@example.net"} for n in range(5)))
    assert run("queue", "retry", "--all").stdout == "5 recipients will be tried now.\n"


@pytest.mark.parametrize("arguments", [(), ("--all", A), ("--domain", "example.org", A)])
def test_retry_wants_ids_or_all(filled: Run, arguments: tuple[str, ...]) -> None:
    assert filled("queue", "retry", *arguments).exit_code == 2


def test_delete(folder: Path, filled: Run) -> None:
    assert filled("queue", "delete", A, "4").stdout == "2 recipients deleted.\n"
    assert listed(filled) == ["three"]
    assert listed(filled, "--state", "deleted") == ["one", "four"]


def test_delete_removes_the_file_of_the_body(folder: Path, run: Run) -> None:
    body = folder / "var/spool/CC" / ("C" * 16)
    body.parent.mkdir(parents=True)
    body.write_bytes(b"large")
    put(folder, "C" * 16, 60, {"address": "a@example.net"}, {"address": "b@example.net"}, file="C" * 16)
    run("queue", "delete", "1")
    assert body.exists()
    run("queue", "delete", "2")
    assert not body.exists()


def test_one_unknown_id_undoes_all(filled: Run) -> None:
    result = filled("queue", "delete", A, "4", "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "no message or recipient nope in the queue; nothing was deleted\n"
    assert listed(filled) == ["one", "three", "four"]


@pytest.mark.parametrize(("verb", "said"), [("hold", "was held"), ("release", "was released"), ("retry", "will be tried")])
def test_what_is_done_to_all_or_none(filled: Run, verb: str, said: str) -> None:
    before = states(filled)
    result = filled("queue", verb, "4" if verb == "release" else A, "nope")
    assert result.stderr.endswith(f"; nothing {said}\n")
    assert states(filled) == before
    assert "; nothing" not in filled("queue", verb, "nope").stderr


@pytest.mark.parametrize("verb", ["show", "retry", "hold", "release", "delete"])
def test_not_found(filled: Run, verb: str) -> None:
    result = filled("queue", verb, "DDDDDDDDDDDDDDDD")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_no_store(folder: Path, run: Run) -> None:
    (folder / "var/gateway.db").unlink()
    result = run("queue", "list")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def states(run: Run) -> dict[str, tuple[str, str]]:
    rows = json.loads(run("queue", "list", "--json").stdout)
    return {row["address"].partition("@")[0]: (row["state"], row["hold"]) for row in rows}


def test_hold_and_release(filled: Run) -> None:
    result = filled("queue", "hold", A, "3")
    assert (result.exit_code, result.stdout) == (0, "2 recipients held.\n")
    assert states(filled) == {"one": ("held", "operator"), "three": ("held", "operator"), "four": ("held", "")}
    assert "held (operator)" in filled("queue", "show", A).stdout
    assert filled("queue", "retry", "--all").stdout == "0 recipients will be tried now.\n"
    result = filled("queue", "release", A, B)
    assert (result.exit_code, result.stdout) == (0, "3 recipients released.\n")
    assert states(filled) == {"one": ("queued", ""), "three": ("queued", ""), "four": ("queued", "")}
    first = json.loads(filled("queue", "list", "--json").stdout)[0]
    assert first["next_in"] <= 0


def test_release_of_what_its_account_holds_is_an_operator_s_decision(folder: Path, run: Run) -> None:
    put(folder, A, 60, {"address": "one@example.net", "state": "held", "hold": "account"})
    assert "held (account)" in run("queue", "list").stdout
    assert run("queue", "release", "1").exit_code == 0
    assert states(run) == {"one": ("queued", "released")}


def test_hold_of_what_its_account_holds_is_the_operator_s_from_then_on(folder: Path, run: Run) -> None:
    put(folder, A, 60, {"address": "one@example.net", "state": "held", "hold": "account"})
    assert run("queue", "hold", A).exit_code == 0
    assert states(run) == {"one": ("held", "operator")}


@pytest.mark.parametrize(
    ("verb", "id_", "said"), [("release", A, "nothing of"), ("retry", "4", "is held"), ("hold", "2", "nobody waits")]
)
def test_what_cannot_be_done_is_one_line(filled: Run, verb: str, id_: str, said: str) -> None:
    result = filled("queue", verb, id_)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
