"""The card: exactly its labels, and a line to copy that a shell reads as it was meant."""

import shlex
import shutil
from pathlib import Path

import pytest

from gateway import config
from gateway.card import card
from gateway.config import Config

LOGIN_TABLE = '[accounts]\nurl = "sqlite:///accounts.db"\ntable = "users"\n'


def settings(folder: Path, text: str = "") -> Config:
    (folder / "gateway.toml").write_text(text + LOGIN_TABLE, encoding="utf-8")
    return config.load(folder / "gateway.toml", {})


def fields(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


@pytest.fixture
def with_password(tmp_path: Path) -> Path:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "demo-password").write_text("it's $5\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(params=["swaks", "curl"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one that is installed, as far as the card can see."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == request.param else None)
    return str(request.param)


def test_labels(with_password: Path) -> None:
    shown = fields(card(settings(with_password), {"starttls": 2587, "tls": 2465}))
    assert list(shown) == ["Server", "STARTTLS port", "TLS port", "User", "Password", "Mail arrives in", "Try"]
    assert shown["Server"] == "127.0.0.1"
    assert (shown["STARTTLS port"], shown["TLS port"]) == ("2587", "2465")
    assert (shown["User"], shown["Password"]) == ("demo@example.com", "it's $5")
    assert shown["Mail arrives in"] == "var/mail"


def test_without_the_password_it_says_how_to_set_one(tmp_path: Path) -> None:
    assert "smtp-gateway accounts passwd" in fields(card(settings(tmp_path), {"tls": 1}))["Password"]


def test_a_smarthost_is_named_without_its_password(tmp_path: Path) -> None:
    relay = '[relay]\nnext_hop = ["smtp://user:hidden@smart.example.net:587?tls=required"]\n'
    text = card(settings(tmp_path, relay), {"starttls": 1})
    assert "smart.example.net" in fields(text)["Mail arrives in"]
    assert "hidden" not in text


@pytest.mark.parametrize(
    ("ports", "swaks", "curl"),
    [
        ({"starttls": 25, "tls": 465}, ["--tls"], ["--insecure", "--ssl-reqd"]),
        ({"none": 2525, "tls": 465}, ["--tlsc"], ["--insecure"]),
        ({"none": 2525}, [], []),
    ],
)
def test_a_line_to_copy(with_password: Path, program: str, ports: dict[str, int], swaks: list[str], curl: list[str]) -> None:
    words = shlex.split(fields(card(settings(with_password), ports))["Try"])
    options = {"--tls", "--tlsc", "--insecure", "--ssl-reqd"}
    assert [word for word in words if word in options] == (swaks if program == "swaks" else curl)
    assert words[0] == ("swaks" if program == "swaks" else "printf")
    assert "it's $5" in words or "demo@example.com:it's $5" in words
    port = ports.get("starttls") or ports.get("tls") or ports["none"]
    assert any(word.endswith(f":{port}") for word in words)


@pytest.mark.parametrize(("address", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")])
def test_an_address_that_means_all_is_shown_as_one_to_use(tmp_path: Path, program: str, address: str, shown: str) -> None:
    listen = f'[[listen]]\naddress = "{address}"\nport = 587\nsecurity = "starttls"\n'
    text = fields(card(settings(tmp_path, listen), {"starttls": 587}))
    assert text["Server"] == shown
    assert (f"[{shown}]:587" if ":" in shown else f"{shown}:587") in text["Try"]
