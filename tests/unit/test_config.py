"""Reading gateway.toml: every key's rule, every mistake named, no secret repeated."""

import ipaddress
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway import config
from gateway.config import ActiveColumn, Config
from gateway.errors import ConfigError


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ)
    return caught.value.problems


def test_an_empty_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert found.path == tmp_path / "gateway.toml"
    assert found.base == tmp_path
    assert (found.server.hostname, found.server.workers, found.server.hide_client) == ("localhost", 1, True)
    assert found.server.state_dir == tmp_path / "var"
    assert found.server.secret.get_secret_value() == ""
    assert [(each.label, each.security) for each in found.listen] == [("127.0.0.1:2587", "starttls"), ("127.0.0.1:2465", "tls")]
    assert (found.tls.certificate, found.tls.key, found.tls.min_version, found.tls.sni) == (None, None, "1.2", ())
    assert found.accounts.url.get_secret_value() == f"sqlite:///{tmp_path}/var/accounts.db"
    assert found.store.url.get_secret_value() == f"sqlite:///{tmp_path}/var/gateway.db"
    assert (found.accounts.preset, found.accounts.table, found.accounts.case_sensitive) == ("", "users", False)
    columns = found.accounts.columns
    assert (columns.id, columns.login, columns.password) == ("id", "email", "password_hash")
    assert columns.active == ActiveColumn("is_active", "true")
    assert (columns.max_message_size, columns.daily_recipients, columns.smtp_enabled) == ("", "", "")
    assert found.http.model_dump() == {"address": "127.0.0.1", "port": 8025}
    assert found.log.model_dump() == {"format": "console", "level": "info"}
    assert found.senders.model_dump() == {"envelope": "own", "header_from": "own", "aliases": "", "bounces_from": ()}


def test_defaults_of_limits_lockout_and_relay(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert found.limits.model_dump() == {
        "message_size": 26214400,
        "recipients": 100,
        "daily_recipients": 1500,
        "on_daily_limit": "defer",
        "connections": 1000,
        "connections_per_network": 50,
        "new_connections_per_network": 6000,
        "auth_failures_per_session": 3,
        "errors_per_session": 20,
        "messages_per_session": 1000,
        "bare_newline": "normalize",
        "hash_wait": 5.0,
    }
    assert found.lockout.model_dump() == {
        "failures": 5,
        "window": 900.0,
        "duration": 300.0,
        "max_duration": 3600.0,
        "account_failures": 50,
        "network_accounts": 10,
        "ipv4_prefix": 32,
        "ipv6_prefix": 64,
        "trust_ipv4_prefix": 24,
        "trust_ipv6_prefix": 48,
        "trust_for": 2592000.0,
        "allow": (),
        "delay": 0.3,
    }
    assert found.relay.retry == (60.0, 300.0, 900.0, 3600.0, 10800.0, 21600.0)
    assert (found.relay.give_up, found.relay.delay_warning, found.relay.keep_finished) == (259200.0, 14400.0, 604800.0)
    assert found.relay.connections == 20
    assert [(hop.kind, hop.path) for hop in found.relay.next_hop] == [("maildir", tmp_path / "var/mail")]


GOOD: list[tuple[str, str, object]] = [
    ("[server]\nhostname = 'SMTP.Example.com'", "server.hostname", "smtp.example.com"),
    ("[server]\nstate_dir = '/var/lib/gateway'", "server.state_dir", Path("/var/lib/gateway")),
    ("[server]\nworkers = 4", "server.workers", 4),
    ("[server]\nworkers = 'auto'", "server.workers", "auto"),
    ("[server]\nhide_client = false", "server.hide_client", False),
    ("[[listen]]\naddress = '::'\nport = 0", "listen.0.label", "[::]:0"),
    ("[[listen]]\naddress = '0.0.0.0'\nport = 25", "listen.0.label", "0.0.0.0:25"),
    ("[[listen]]\nsecurity = 'none'\nallow_plaintext_auth = true", "listen.0.allow_plaintext_auth", True),
    ("[[listen]]\nport = 0\n[[listen]]\nport = 0", "listen.1.port", 0),
    ("[tls]\nmin_version = '1.3'", "tls.min_version", "1.3"),
    ("[limits]\nmessage_size = '64KiB'", "limits.message_size", 65536),
    ("[limits]\nmessage_size = 1000", "limits.message_size", 1000),
    ("[limits]\nrecipients = 1", "limits.recipients", 1),
    ("[limits]\nbare_newline = 'reject'", "limits.bare_newline", "reject"),
    ("[limits]\nhash_wait = '250ms'", "limits.hash_wait", 0.25),
    ("[limits]\ndaily_recipients = 0", "limits.daily_recipients", 0),
    ("[limits]\non_daily_limit = 'suspend'", "limits.on_daily_limit", "suspend"),
    ("[accounts.columns]\ndaily_recipients = 'quota'", "accounts.columns.daily_recipients", "quota"),
    ("[lockout]\ndelay = '1s'", "lockout.delay", 1.0),
    ("[lockout]\ndelay = 0", "lockout.delay", 0.0),
    ("[lockout]\nfailures = 0", "lockout.failures", 0),
    ("[lockout]\nfailures = 5\nwindow = 900", "lockout.window", 900.0),
    ("[server]\npostmaster = 'help@example.com'", "server.postmaster", "help@example.com"),
    ("[senders]\nbounces_from = ['Satellite.example.com']", "senders.bounces_from", ("satellite.example.com",)),
    ("[senders]\nheader_from = 'any'\naliases = 'app.aliases'", "senders.aliases", "app.aliases"),
    ("[relay]\nretry = ['10s']", "relay.retry", (10.0,)),
    ("[relay]\nkeep_finished = 0", "relay.keep_finished", 0.0),
    ("[http]\naddress = '::1'\nport = 0", "http.port", 0),
    ("[log]\nformat = 'json'\nlevel = 'debug'", "log.level", "debug"),
    ("[accounts]\ntable = 'app.v_users$1'\ncase_sensitive = true", "accounts.table", "app.v_users$1"),
    ("[accounts.columns]\nactive = 'not:banned'", "accounts.columns.active", ActiveColumn("banned", "not")),
    ("[accounts.columns]\nactive = 'null:deleted_at'", "accounts.columns.active", ActiveColumn("deleted_at", "null")),
    ("[accounts.columns]\nactive = ''", "accounts.columns.active", None),
    ("[accounts.columns]\nsmtp_enabled = 'may_send'", "accounts.columns.smtp_enabled", "may_send"),
    ("[accounts.columns]\nmax_message_size = 'max_size'", "accounts.columns.max_message_size", "max_size"),
    ("[store]\nurl = 'sqlite:////srv/g.db'", "store.url", "sqlite:////srv/g.db"),
    (
        "[accounts]\nurl = 'mysql+pymysql://u:p@db/app?charset=utf8mb4'",
        "accounts.url",
        "mysql+pymysql://u:p@db/app?charset=utf8mb4",
    ),
    ("[accounts]\nurl = 'sqlite:////srv/a.db?mode=ro'", "accounts.url", "sqlite:////srv/a.db?mode=ro"),
    (
        "[accounts]\nurl = 'sqlite:///file:/srv/a.db?mode=ro&uri=true'",
        "accounts.url",
        "sqlite:///file:/srv/a.db?mode=ro&uri=true",
    ),
]


@pytest.mark.parametrize(("text", "key", "value"), GOOD)
def test_a_value_is_read(tmp_path: Path, text: str, key: str, value: object) -> None:
    found: object = read(tmp_path, text)
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, tuple) else getattr(found, part)
    assert (found.get_secret_value() if hasattr(found, "get_secret_value") else found) == value


BAD: list[tuple[str, str, str]] = [
    # text, key path, a part of what is said
    ("colour = 1", "colour", "there are server, listen, tls"),
    ("lissten = 1", "lissten", "did you mean listen?"),
    ("message_size = 1", "message_size", "did you mean limits.message_size?"),
    ("server = 1", "server", "write [server]"),
    ("[server]\nhostnam = 'x'", "server.hostnam", "did you mean hostname?"),
    ("[server]\nsecret_fil = 'x'", "server.secret_fil", "did you mean secret_file?"),
    ("[server]\nport = 25", "server.port", "did you mean listen.port?"),
    ("[server]\nhostname = 'a b'", "server.hostname", "smtp.example.com"),
    ("[server]\nhostname = ''", "server.hostname", "is not a host name"),
    ("[server]\nhostname = '[127.0.0.1]'", "server.hostname", "is not a host name"),
    ("[server]\nhostname = 'a@b'", "server.hostname", "is not a host name"),
    ("[server]\nhostname = 'bücher.example'", "server.hostname", "xn--"),
    ("[server]\nhostname = 5", "server.hostname", "put it in quotes"),
    ("[server]\nstate_dir = ''", "server.state_dir", "names no file"),
    ("[server]\nstate_dir = 1", "server.state_dir", "put it in quotes"),
    ("[server]\nworkers = 0", "server.workers", '1 or more, or "auto"'),
    ("[server]\nworkers = true", "server.workers", '1 or more, or "auto"'),
    ("[server]\nworkers = 'many'", "server.workers", '1 or more, or "auto"'),
    ("[server]\nhide_client = 'yes'", "server.hide_client", "neither true nor false"),
    ("[server]\nhide_client = 1", "server.hide_client", "neither true nor false"),
    ("listen = []", "listen", "name at least one"),
    ("[listen]\nport = 1", "listen", "[[listen]]"),
    ("listen = [25]", "listen.1", "write [[listen]] with double brackets"),
    ("[[listen]]\nport = 65536", "listen.1.port", "65535"),
    ("[[listen]]\nport = -1", "listen.1.port", "at least 0"),
    ("[[listen]]\nport = true", "listen.1.port", "whole number"),
    ("[[listen]]\nport = 2.5", "listen.1.port", "whole number"),
    ("[[listen]]\naddress = 'localhost'", "listen.1.address", "127.0.0.1"),
    ("[[listen]]\naddress = 'fe80::1%eth0'", "listen.1.address", "not an IP address"),
    ("[[listen]]\n[[listen]]\nport = 25\nsecurity = 'ssl'", "listen.2.security", "'starttls', 'tls' or 'none'"),
    ("[[listen]]\n[[listen]]\nport = 2587", "listen.2.port", "same address and port as listen.1"),
    ("[[listen]]\nallow_plaintext_auth = true", "listen.1.allow_plaintext_auth", 'security = "none"'),
    ("[[listen]]\nproxy_protocol_from = ['10.0.0.1/8']", "listen.1.proxy_protocol_from.1", 'did you mean "10.0.0.0/8"?'),
    ("[[listen]]\nproxy_protocol_from = ['10.0.0.0/33']", "listen.1.proxy_protocol_from.1", "is not a network"),
    ("[[listen]]\nproxy_protocol_from = [10]", "listen.1.proxy_protocol_from.1", "is not a network"),
    ("[[listen]]\nproxy_protocol_from = '10.0.0.0/8'", "listen.1.proxy_protocol_from", "is not a list"),
    ("[tls]\ncertificate = 'c.pem'", "tls.key", "give both"),
    ("[tls]\nkey = 'k.pem'", "tls.certificate", "give both"),
    ("[tls]\nmin_version = '1.1'", "tls.min_version", "'1.2' or '1.3'"),
    ("[tls]\nmin_version = 1.2", "tls.min_version", "'1.2' or '1.3'"),
    ("[tls.sni]\nnames = ['a.example']", "tls.sni", "[[tls.sni]]"),
    ("[[tls.sni]]\nnames = []\ncertificate = 'c'\nkey = 'k'", "tls.sni.1.names", "name at least one"),
    ("[[tls.sni]]\nnames = ['-a']\ncertificate = 'c'\nkey = 'k'", "tls.sni.1.names.1", "is not a host name"),
    ("[[tls.sni]]\nnames = ['a.example']\ncertificate = 'c'", "tls.sni.1.key", "is missing"),
    ("[accounts]\nurl = ''", "accounts.url", "is not a database URL"),
    ("[accounts]\nurl = 'postgres://db/app'", "accounts.url", "write postgresql://"),
    ("[accounts]\nurl = 'sqlite://var/x.db'", "accounts.url", "three slashes"),
    ("[accounts]\nurl = 'sqlite://'", "accounts.url", "three slashes"),
    ("[accounts]\nurl = 'sqlite:///'", "accounts.url", "names no file"),
    ("[accounts]\nurl = 'sqlite:///:memory:'", "accounts.url", "names no file"),
    ("[accounts]\npreset = 'rails'", "accounts.preset", "devise"),
    ("[accounts]\npreset = []", "accounts.preset", "devise"),
    ("[accounts]\ntable = 'a.b.c'", "accounts.table", "app.users"),
    ("[accounts]\ntable = 'users; drop'", "accounts.table", "app.users"),
    ("[accounts]\ncolumns = 'id'", "accounts.columns", "write [accounts.columns]"),
    ("[[accounts]]\nurl = 'sqlite:///x.db'", "accounts", "write [accounts]"),
    ("[accounts.columns]\nid = ''", "accounts.columns.id", "is not a column name"),
    ("[accounts.columns]\nlogin = 'e mail'", "accounts.columns.login", "is not a column name"),
    ("[accounts.columns]\nsmtp_enabled = '1st'", "accounts.columns.smtp_enabled", "is not a column name"),
    ("[accounts.columns]\nactive = 'nil:deleted_at'", "accounts.columns.active", "null:deleted_at"),
    ("[accounts.columns]\nactive = 'true:x'", "accounts.columns.active", "null:deleted_at"),
    ("[accounts.columns]\nactive = 'not:'", "accounts.columns.active", "null:deleted_at"),
    ("[accounts.columns]\nactive = true", "accounts.columns.active", "null:deleted_at"),
    ("[accounts.columns]\npasword = 'x'", "accounts.columns.pasword", "did you mean password?"),
    ("[store]\nurl = 'mysql://db/x'", "store.url", "neither SQLite nor PostgreSQL"),
    ("[store]\nurl = 'sqlite:///:memory:'", "store.url", "memory is lost"),
    ("[store]\nurl = 'postgresql://db/x'", "server.secret", "machines that share a store have one secret"),
    ("[server]\nsecret = ''\n[store]\nurl = 'postgresql+psycopg://db/x'", "server.secret", "openssl rand -hex 32"),
    ("[lockout]\nfailures = -1", "lockout.failures", "at least 0"),
    ("[lockout]\nipv4_prefix = 33", "lockout.ipv4_prefix", "32 at most"),
    ("[lockout]\nipv6_prefix = 0", "lockout.ipv6_prefix", "at least 1"),
    ("[lockout]\ndelay = 'soon'", "lockout.delay", "300ms"),
    ("[lockout]\ndelay = -1", "lockout.delay", "300ms"),
    ("[limits]\nmessage_size = 0", "limits.message_size", "at least 1"),
    ("[limits]\nmessage_size = '25 megs'", "limits.message_size", "25MiB"),
    ("[limits]\nrecipients = 0", "limits.recipients", "at least 1"),
    ("[limits]\nconnections = 0", "limits.connections", "at least 1"),
    ("[limits]\nconnections_per_network = 0", "limits.connections_per_network", "at least 1"),
    ("[limits]\nauth_failures_per_session = 0", "limits.auth_failures_per_session", "at least 1"),
    ("[limits]\nerrors_per_session = 0", "limits.errors_per_session", "at least 1"),
    ("[limits]\nmessages_per_session = 0", "limits.messages_per_session", "at least 1"),
    ("[limits]\nhash_wait = 0", "limits.hash_wait", "more than 0"),
    ("[limits]\nbare_newline = 'keep'", "limits.bare_newline", "'normalize' or 'reject'"),
    ("[limits]\non_daily_limit = 'ban'", "limits.on_daily_limit", "'defer', 'reject' or 'suspend'"),
    ("[senders]\nenvelope = 'all'", "senders.envelope", "'own' or 'any'"),
    ("[senders]\nheader_from = ''", "senders.header_from", "'own' or 'any'"),
    ("[server]\npostmaster = 'postmaster'", "server.postmaster", "is not a complete e-mail address"),
    ("[server]\npostmaster = 'ann@host'", "server.postmaster", "is not a complete e-mail address"),
    ("[senders]\nbounces_from = ['a_b']", "senders.bounces_from.1", "is not a host name"),
    ("[senders]\naliases = 'a b'", "senders.aliases", "is not a table name"),
    ("[relay]\nnext_hop = []", "relay.next_hop", "name at least one"),
    ("[relay]\nnext_hop = 'smtp://h'", "relay.next_hop", "put it in brackets"),
    ("[relay]\nnext_hop = ['smtp://h', 'x']", "relay.next_hop.2", "smtps://host:465"),
    ("[relay]\nnext_hop = ['smtp://h', 'smtp://h:25']", "relay.next_hop", "names h:25 twice"),
    ("[relay]\nnext_hop = [1]", "relay.next_hop.1", "is not text"),
    ("[relay]\nretry = []", "relay.retry", "name at least one"),
    ("[relay]\nretry = ['1m', '0s']", "relay.retry.2", "more than 0"),
    ("[relay]\ngive_up = 0", "relay.give_up", "more than 0"),
    ("[relay]\ndelay_warning = 0", "relay.delay_warning", "more than 0"),
    ("[relay]\nconnections = 0", "relay.connections", "at least 1"),
    ("[http]\nport = 70000", "http.port", "65535"),
    ("[http]\naddress = ''", "http.address", "is not an IP address"),
    ("[log]\nformat = 'xml'", "log.format", "'console' or 'json'"),
    ("[log]\nlevel = 'loud'", "log.level", "'debug', 'info', 'warning' or 'error'"),
    # not built yet
]


@pytest.mark.parametrize(("text", "key", "said"), BAD)
def test_a_mistake_is_named_once_with_its_key(tmp_path: Path, text: str, key: str, said: str) -> None:
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"{key}: ")
    assert said in problem
    assert ";" in problem or "?" in problem  # what is wrong; what would be right


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = "[server]\nworkers = 0\nhostname = 'a b'\n[tls]\nkey = 'k'\nmin_version = '1.0'\n[relay]\nretry = []\nx = 1"
    found = {problem.split(":")[0] for problem in problems(tmp_path, text)}
    assert found == {"server.workers", "server.hostname", "tls.certificate", "tls.min_version", "relay.retry", "relay.x"}


def test_a_network_may_be_one_address() -> None:
    found = config.Listen(proxy_protocol_from=("192.0.2.1", "2001:db8::/32"))  # type: ignore[arg-type]
    assert found.proxy_protocol_from == (ipaddress.ip_network("192.0.2.1/32"), ipaddress.ip_network("2001:db8::/32"))


def test_nothing_can_be_changed_afterwards(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        found.limits.recipients = 5


PRESETS = [
    ("django", "auth_user", ("id", "email", "password", ActiveColumn("is_active"))),
    ("laravel", "users", ("id", "email", "password", None)),
    ("devise", "users", ("id", "email", "encrypted_password", None)),
    ("wordpress", "wp_users", ("ID", "user_email", "user_pass", None)),
]


@pytest.mark.parametrize(("preset", "table", "columns"), PRESETS)
def test_a_preset_fills_in_table_and_columns(tmp_path: Path, preset: str, table: str, columns: tuple[object, ...]) -> None:
    found = read(tmp_path, f"[accounts]\npreset = '{preset}'").accounts
    assert found.table == table
    assert (found.columns.id, found.columns.login, found.columns.password, found.columns.active) == columns


def test_what_is_written_wins_over_the_preset(tmp_path: Path) -> None:
    text = "[accounts]\npreset = 'django'\ntable = 'people'\n[accounts.columns]\nlogin = 'username'\nactive = ''"
    found = read(tmp_path, text).accounts
    assert found.table == "people"
    assert (found.columns.login, found.columns.password, found.columns.active) == ("username", "password", None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[listen]]\naddress = '0.0.0.0'\nsecurity = 'none'\nallow_plaintext_auth = true", "listen.1.allow_plaintext_auth"),
        ("[[listen]]\naddress = '::'\nsecurity = 'none'\nallow_plaintext_auth = true", "listen.1.allow_plaintext_auth"),
        ("[[listen]]\naddress = '127.0.0.1'\nsecurity = 'none'\nallow_plaintext_auth = true", ""),
        ("[[listen]]\naddress = '0.0.0.0'\nsecurity = 'none'", ""),
        ("[relay]\nnext_hop = ['maildir:m', 'smtp://u:p@smart.example:587?tls=none']", "relay.next_hop.2"),
        ("[relay]\nnext_hop = ['smtp://u:p@192.0.2.1?tls=none']", "relay.next_hop.1"),
        ("[relay]\nnext_hop = ['smtp://u:p@localhost?tls=none']", ""),
        ("[relay]\nnext_hop = ['smtp://u:p@[::1]?tls=none']", ""),
        ("[relay]\nnext_hop = ['smtp://smart.example?tls=none']", ""),
        ("[relay]\nnext_hop = ['smtp://u:p@smart.example']", ""),
    ],
)
def test_a_password_in_clear_on_a_network_is_warned_of(tmp_path: Path, text: str, key: str) -> None:
    found = read(tmp_path, text).warnings
    assert [line.split(": ")[0] for line in found] == ([key] if key else [])


@pytest.mark.parametrize(
    ("networks", "warned"),
    [
        ("[]", False),
        ("['10.0.0.0/8', 'fd00::/8', '192.0.2.7']", False),
        ("['10.0.0.0/8', '0.0.0.0/0']", True),
        ("['::/0']", True),
    ],
)
def test_believing_everybody_about_their_address_is_warned_of(tmp_path: Path, networks: str, warned: bool) -> None:
    text = f"limits.daily_recipients = 0\n[[listen]]\n[[listen]]\nport = 2588\nproxy_protocol_from = {networks}"
    found = read(tmp_path, text).warnings
    assert [line.split(": ")[0] for line in found] == ["listen.2.proxy_protocol_from"] * warned


def test_only_some_tables_are_read_and_only_their_secrets(tmp_path: Path) -> None:
    text = "[server]\nstate_dir = 's'\n[accounts]\nurl_file = '${CREDENTIALS_DIRECTORY}/url'\n[limits]\nrecipients = 0"
    (tmp_path / "gateway.toml").write_text(text)
    found = config.load(tmp_path / "gateway.toml", {}, only=("server", "store"))
    assert found.server.state_dir == tmp_path / "s"
    assert found.accounts.url.get_secret_value() == f"sqlite:///{tmp_path}/var/accounts.db"
    assert len(problems(tmp_path, text)) == 2


def test_tables_that_are_not_asked_for_may_not_be_misspelt(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("[servr]\nstate_dir = 's'")
    with pytest.raises(ConfigError, match="did you mean server"):
        config.load(tmp_path / "gateway.toml", {}, only=("server", "store"))


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "50% of?"  # what a URL would take for something else
    folder.mkdir()
    (folder / "gateway.toml").write_text("[tls]\ncertificate = 'c.pem'\nkey = '/k.pem'\n[accounts]\nurl = 'sqlite:///a.db?x=1'")
    monkeypatch.chdir(tmp_path)
    found = config.load(Path("50% of?/gateway.toml"), {})
    assert found.base == folder
    assert (found.tls.certificate, found.tls.key) == (folder / "c.pem", Path("/k.pem"))
    assert found.accounts.url.get_secret_value() == f"sqlite:///{tmp_path}/50%25%20of%3F/a.db?x=1"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; run `smtp-gateway init`"):
        config.load(tmp_path / "gateway.toml", {})


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path, {})


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="octet 3"):
        config.load(tmp_path / "gateway.toml", {})


def test_toml_that_is_broken_names_the_line(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "[server]\nhostname = smtp.example.com\n")
    assert "line 2" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[accounts]\ntable = 'a'\n[store]\n[accounts]\n", "[accounts] stands twice, again at line 4"),
        ("[accounts.columns]\n\n[accounts.columns]\n", "[accounts.columns] stands twice, again at line 3"),
        ("[log]\nlevel = 'info'\nlevel = 'debug'\n", "a setting stands twice in its table, again at line 3"),
    ],
)
def test_what_stands_twice_is_named(tmp_path: Path, text: str, said: str) -> None:
    [problem] = problems(tmp_path, text)
    assert problem.startswith(f"{tmp_path}/gateway.toml: {said}; ")


def test_the_sample_is_the_default_configuration(tmp_path: Path) -> None:
    assert read(tmp_path, config.SAMPLE) == read(tmp_path, "")


@pytest.mark.parametrize(("preset", "table", "columns"), PRESETS)
def test_a_preset_of_the_sample_needs_no_other_change(tmp_path: Path, preset: str, table: str, columns: object) -> None:
    sample = config.SAMPLE.replace('# preset = "django" ', f'preset = "{preset}" ')
    assert read(tmp_path, sample).accounts == read(tmp_path, f"[accounts]\npreset = '{preset}'").accounts


def test_all_that_the_sample_only_mentions_can_be_used(tmp_path: Path) -> None:
    text = re.sub(
        r"^# (?=\[accounts.columns\]|table = |id = |login = |password = |active = |max_)", "", config.SAMPLE, flags=re.M
    )
    accounts = read(tmp_path, text).accounts
    assert accounts.columns.max_message_size == "max_message_size"
    columns = accounts.columns.model_copy(update={"max_message_size": ""})
    assert accounts.model_copy(update={"columns": columns}) == read(tmp_path, "").accounts


SECRET = "Zm9-Secret"


@pytest.mark.parametrize(
    "text",
    [
        "[accounts]\nurl = 'Zm9-Secret'",
        "[accounts]\nurl = 'postgres://u:Zm9-Secret@h/d'",
        "[accounts]\nurl = ['Zm9-Secret']",
        "[accounts]\npepper = ['Zm9-Secret']",
        "[accounts]\nurl_file = 'x'\nurl = 'postgresql://u:Zm9-Secret@h/d'",
        "[server]\nsecret = ['Zm9-Secret']",
        "[store]\nurl = 'mysql://u:Zm9-Secret@h/d'",
        "[relay]\nnext_hop = ['smtp://u:Zm9-Secret']",
        "[relay]\nnext_hop = 'smtp://u:Zm9-Secret@h'",
        "[relay]\nnext_hop = [['smtp://u:Zm9-Secret@h']]",
        "[server]\nhostname = '${X}'",
    ],
)
def test_no_secret_comes_back_in_a_message_or_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, {"X": SECRET + "!"})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert SECRET not in shown
