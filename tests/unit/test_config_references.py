"""`${NAME}` and `x_file`: where they work, and what is said when they do not."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway import config
from gateway.config import Config
from gateway.errors import ConfigError


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    (folder / "gateway.toml").write_text(text)
    return config.load(folder / "gateway.toml", environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ)
    return caught.value.problems


def test_the_environment_fills_any_text(tmp_path: Path) -> None:
    text = """
    [server]
    hostname = "${HOST}.example.com"
    hide_client = "${HIDE}"
    [[listen]]
    port = "${PORT}"
    [relay]
    next_hop = ["${HOP}", "smtp://b"]
    retry = ["${WAIT}m"]
    """
    environ = {"HOST": "smtp", "HIDE": "false", "PORT": "25", "HOP": "smtp://a", "WAIT": "5"}
    found = read(tmp_path, text, environ)
    assert (found.server.hostname, found.server.hide_client, found.listen[0].port) == ("smtp.example.com", False, 25)
    assert [hop.label for hop in found.relay.next_hop] == ["a:25", "b:25"]
    assert found.relay.retry == (300.0,)


@pytest.mark.parametrize("password", ["plain", "p@ss/w?rd#%40:&=", "${NOT_AGAIN}", "ü "])
def test_a_password_from_the_environment_needs_no_encoding(tmp_path: Path, password: str) -> None:
    text = "[accounts]\nurl = 'postgresql://u:${PW}@db/app'\n[relay]\nnext_hop = ['smtp://${USER}:${PW}@h:587?tls=required']"
    found = read(tmp_path, text, {"PW": password, "USER": "me@example.com"})
    assert make_url(found.accounts.url.get_secret_value()).password == password
    assert found.relay.next_hop[0].password.get_secret_value() == password
    assert found.relay.next_hop[0].user == "me@example.com"


def test_a_whole_url_from_the_environment_is_taken_as_it_is(tmp_path: Path) -> None:
    found = read(tmp_path, "[accounts]\nurl = '${DATABASE_URL}'", {"DATABASE_URL": "postgresql://u:p%40w@db/app"})
    assert found.accounts.url.get_secret_value() == "postgresql://u:p%40w@db/app"


def test_a_variable_after_the_host_is_not_encoded(tmp_path: Path) -> None:
    found = read(tmp_path, "[accounts]\nurl = 'postgresql://u:p@db/${NAME}'", {"NAME": "app?sslmode=require"})
    assert found.accounts.url.get_secret_value() == "postgresql://u:p@db/app?sslmode=require"


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[accounts]\npepper = '${PEPPER}'", "accounts.pepper", "PEPPER, which is not set; set it"),
        ("[relay]\nnext_hop = ['smtp://h', 'smtp://u:${PW}@h']", "relay.next_hop.2", "PW, which is not set"),
        ("[[listen]]\nport = '${PORT}'", "listen.1.port", "PORT, which is not set"),
        ("[accounts]\npepper = '${A-B}'", "accounts.pepper", "without a name"),
        ("[accounts]\npepper = '${}'", "accounts.pepper", "without a name"),
        ("[accounts]\npepper = '${OPEN'", "accounts.pepper", "without a name"),
        ("[accounts]\npepper = '${BYTES}'", "accounts.pepper", "BYTES, which is not UTF-8"),
        ("[accounts]\nurl_file = '${DIR}/x'", "accounts.url_file", "DIR, which is not set"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_problem(tmp_path: Path, text: str, key: str, said: str) -> None:
    [problem] = problems(tmp_path, text, {"BYTES": "\udcff"})
    assert problem.startswith(f"{key}: ")
    assert said in problem


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text(" ${x} \r\n")
    (tmp_path / "url").write_text("postgresql://u:p@db/app\n")
    (tmp_path / "store").write_text("sqlite:////srv/g.db")
    (tmp_path / "hops").write_text("smtp://u:p@a\n\n  maildir:var/my mail\n")
    text = """
    [accounts]
    pepper_file = "pepper"
    url_file = "${DIR}/url"
    [store]
    url_file = "store"
    [relay]
    next_hop_file = "hops"
    """
    found = read(tmp_path, text, {"DIR": str(tmp_path)})
    assert found.accounts.pepper.get_secret_value() == " ${x} "
    assert found.accounts.url.get_secret_value() == "postgresql://u:p@db/app"
    assert found.store.url.get_secret_value() == "sqlite:////srv/g.db"
    assert [(hop.label, hop.path) for hop in found.relay.next_hop] == [("a:25", None), ("maildir", tmp_path / "var/my mail")]


def test_a_shared_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x\n")
    assert read(tmp_path, "[server]\nsecret_file = 'secret'").server.secret.get_secret_value() == "x"


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ("pepper = 'x'\npepper_file = 'good'", "accounts.pepper", "keep one of them"),
        ("pepper_file = 'missing'", "accounts.pepper_file", "No such file"),
        ("pepper_file = '.'", "accounts.pepper_file", "Is a directory"),
        ("pepper_file = 'empty'", "accounts.pepper_file", "is empty"),
        ("pepper_file = 'binary'", "accounts.pepper_file", "not UTF-8"),
        ("pepper_file = 'large'", "accounts.pepper_file", "larger than"),
        ("pepper_file = 5", "accounts.pepper_file", "put the path in quotes"),
        ('pepper_file = "a\\u0000b"', "accounts.pepper_file", "is not the name of a file"),
        ("table_file = 'good'", "accounts.table_file", "is not a setting"),
    ],
)
def test_a_bad_secret_file_is_one_problem(tmp_path: Path, value: str, key: str, said: str) -> None:
    (tmp_path / "good").write_text("good")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_text("x" * 65537)
    [problem] = problems(tmp_path, f"[accounts]\n{value}")
    assert problem.startswith(f"{key}: ")
    assert said in problem
