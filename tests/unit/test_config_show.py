"""`config show`: everything in effect, readable again, with no secret in it."""

import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.config.database_url import absolute, masked
from gateway.errors import ConfigError
from gateway.store.engine import parse_url

RICH = """
[server]
hostname = "smtp.example.com"
[[listen]]
address = "::1"
port = 0
security = "none"
allow_plaintext_auth = true
[[listen]]
port = 465
security = "tls"
[tls]
certificate = "full \\"chain\\".pem"
key = "privkey.pem"
[[tls.sni]]
names = ["a.example", "b.example"]
certificate = "a.pem"
key = "a.key"
[[tls.sni]]
names = ["c.example"]
certificate = "c.pem"
key = "c.key"
[accounts]
preset = "wordpress"
table = "app.users"
[accounts.columns]
active = "null:deleted_at"
[lockout]
delay = "1500ms"
failures = 0
[limits]
message_size = 12345
[relay]
next_hop = ["smtp://h?tls=none", "smtps://[::1]:4465?ca=my%20ca.pem", "maildir:var/mail"]
retry = ["90s", "1d"]
keep_finished = 0
"""


NOTHING_SAYS_ACTIVE = '[accounts.columns]\nactive = ""'


@pytest.mark.parametrize("text", ["", config.SAMPLE, RICH, NOTHING_SAYS_ACTIVE, "[accounts]\npreset = 'laravel'"])
def test_what_is_shown_reads_back_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    first = config.load(path, {})
    path.write_text(config.show(first))
    assert config.load(path, {}) == first


def test_every_setting_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(RICH)
    shown = tomllib.loads(config.show(config.load(path, {})))
    assert list(shown) == list(config.Config.model_fields)
    for section in ("server", "accounts", "lockout", "limits", "senders", "relay", "http", "log", "tls", "store"):
        assert set(shown[section]) == set(getattr(config, section.capitalize()).model_fields)
    assert shown["limits"]["message_size"] == "12345B"
    assert shown["accounts"]["columns"]["login"] == "user_email"


def test_secrets_are_masked_and_hosts_stay(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        """
        [accounts]
        url = "postgresql://app:Zm9Secret@db.example/app?sslpassword=Zm9Secret&sslmode=require"
        pepper = "Zm9Secret"
        [relay]
        next_hop = ["smtp://user:Zm9Secret@smart.example.net:587"]
        """
    )
    found = config.load(path, {})
    shown = tomllib.loads(config.show(found))
    assert "Zm9" not in config.show(found) + repr(found) + str(found)
    assert shown["accounts"]["url"] == "postgresql://app:********@db.example/app?sslpassword=********&sslmode=require"
    assert shown["accounts"]["pepper"] == "********"
    assert shown["relay"]["next_hop"] == ["smtp://user:********@smart.example.net:587?tls=required&verify=yes"]
    assert shown["server"]["secret"] == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db/app", "postgresql://db/app"),
        ("postgresql://u@db/app", "postgresql://u@db/app"),
        ("postgresql://u:p@db:5432/app", "postgresql://u:********@db:5432/app"),
        ("postgresql://:p@db/app", "postgresql://:********@db/app"),
        ("postgresql://u:p@ss@db/app", "postgresql://u:********@db/app"),
        ("postgresql://u:p/s?s@db/app", "postgresql://u:********@db/app"),
        ("mysql+pymysql://db/app?Password=x", "mysql+pymysql://db/app?Password=********"),
        ("mssql+pyodbc:///?odbc_connect=Driver%3Dx%3BPWD%3Dp", "mssql+pyodbc:///?odbc_connect=********"),
        ("postgresql://db/app?options=-c%20x%3Dp&sslmode=require", "postgresql://db/app?options=********&sslmode=require"),
        ("postgresql://db/app?host=a&host=b&passfile=p", "postgresql://db/app?host=a&host=b&passfile=********"),
        ("postgresql://u:p@db/app?secret", "postgresql://u:********@db/app?********"),
        ("postgresql://u:p@db/app?", "postgresql://u:********@db/app?"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
    ],
)
def test_a_database_url_is_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


_PASSWORD = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="&*"), min_size=6, max_size=20
).map("Zq{}qZ".format)


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://u:{}@db.example/app",
        "postgresql://u:{}@db.example:5432/app?sslmode=require",
        "mysql+pymysql://:{}@db/app",
        "postgresql://db/app?password={}",
        "postgresql://u@db/app?x=1&sslpassword={}",
        "mssql+pyodbc:///?odbc_connect={}",
    ],
)
@given(password=_PASSWORD)
def test_no_part_of_a_password_is_shown_or_told(form: str, password: str) -> None:
    """Raw or percent-encoded, wherever it ends up: it is masked, or the URL is refused without a word of it."""
    for written in (password, quote(password, safe=""), quote(password)):
        url = form.format(written)
        said = ""
        try:
            absolute(url, Path("/srv"))
            said = str(parse_url(url, "store.url").host)
        except (ValueError, ConfigError) as error:
            said = str(error)
        for text in (masked(url), said):
            assert not any(part in text for part in (password, "Zq", "qZ"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@ss@db/app",
        "postgresql://u:p@db/app?x=a@b",
        "postgresql://u@x:p@db/app",
        "postgresql://user:secret",
        "postgresql://u:p@db:port/app",
        "postgresql://u:p@[::1/app",
        "mysql://u:p@db:/app",
    ],
)
def test_a_url_that_could_leak_its_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"has more than one \"@\"|has no host and port") as refused:
        absolute(url, Path("/srv"))
    assert "ss" not in str(refused.value).replace("password", "")
    with pytest.raises(ConfigError, match=r"store\.url: not a database URL"):
        parse_url(url, "store.url")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/app",
        "postgresql:///app?host=/run/postgresql",
        "postgresql://u:p%40ss@db:5432/app",
        "postgresql://u:p/s?s@db/app",
        "postgresql://u:p@[::1]:5432/app",
        "postgresql://u:p@h1,h2/app?target_session_attrs=any",
        "mysql+pymysql://u:p@db",
    ],
)
def test_a_url_of_a_server_is_taken(url: str) -> None:
    assert absolute(url, Path("/srv")) == url
    parse_url(url, "store.url")
