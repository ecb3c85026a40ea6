"""The tables of the TOML file as frozen values, with their defaults ([accounts]: login_table.py)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from gateway.config.hop import NextHop
from gateway.config.values import (
    Count,
    DatabaseUrl,
    Duration,
    FilePath,
    Flag,
    Hops,
    HostName,
    IpAddress,
    Ipv4Prefix,
    Ipv6Prefix,
    Networks,
    NonEmpty,
    OptionalAddress,
    OptionalTable,
    Port,
    Positive,
    Secret,
    Size,
    Wait,
)

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _workers(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and int(value[:9]):
        return int(value[:9])
    raise ValueError('is not a number of processes; write 1 or more, or "auto"')


class Server(Section):
    hostname: HostName = "localhost"
    state_dir: FilePath = Field(default=Path("var"), validate_default=True)
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = 1
    secret: Secret = SecretStr("")
    hide_client: Flag = True
    postmaster: OptionalAddress = ""


class Listen(Section):
    """One listener. Port 0 lets the system choose; who is in `proxy_protocol_from` says first who the client is."""

    address: IpAddress = "127.0.0.1"
    port: Port = 2587
    security: Literal["starttls", "tls", "none"] = "starttls"
    allow_plaintext_auth: Flag = False
    proxy_protocol_from: Networks = ()

    @property
    def label(self) -> str:
        """The name in metrics and logs: "127.0.0.1:2587" or "[::1]:2587"."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Sni(Section):
    """A certificate for the host names that a client may ask for (RFC 6066 section 3)."""

    names: Annotated[tuple[HostName, ...], NonEmpty]
    certificate: FilePath
    key: FilePath


class Tls(Section):
    """Certificate and key, PEM: both, or neither when a self-signed one is to be made."""

    certificate: FilePath | None = None
    key: FilePath | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    sni: tuple[Sni, ...] = ()


class Store(Section):
    url: DatabaseUrl = Field(default=SecretStr("sqlite:///var/gateway.db"), validate_default=True)


class Lockout(Section):
    """Times in seconds, a count of 0 is switched off."""

    failures: Count = 5
    window: Duration = 15 * _MINUTE
    duration: Duration = 5 * _MINUTE
    max_duration: Duration = _HOUR
    account_failures: Count = 50
    network_accounts: Count = 10
    ipv4_prefix: Ipv4Prefix = 32
    ipv6_prefix: Ipv6Prefix = 64
    trust_ipv4_prefix: Ipv4Prefix = 24
    trust_ipv6_prefix: Ipv6Prefix = 48
    trust_for: Duration = 30 * _DAY
    allow: Networks = ()
    delay: Duration = 0.3


class Limits(Section):
    """Ceilings; sizes in octets, times in seconds."""

    message_size: Size = 25 << 20
    recipients: Positive = 100
    daily_recipients: Count = 1500
    on_daily_limit: Literal["defer", "reject", "suspend"] = "defer"
    connections: Positive = 1000
    connections_per_network: Positive = 50
    new_connections_per_network: Count = 6000
    auth_failures_per_session: Positive = 3
    errors_per_session: Positive = 20
    messages_per_session: Positive = 1000
    bare_newline: Literal["normalize", "reject"] = "normalize"
    hash_wait: Wait = 5.0


class Senders(Section):
    envelope: Literal["own", "any"] = "own"
    header_from: Literal["own", "any"] = "own"
    aliases: OptionalTable = ""
    bounces_from: tuple[HostName, ...] = ()


class Relay(Section):
    """The next hops in the order they are tried; times in seconds."""

    next_hop: Annotated[Hops, NonEmpty, Field(validate_default=True)] = (NextHop("maildir", path=Path("var/mail")),)
    connections: Positive = 20
    retry: Annotated[tuple[Wait, ...], NonEmpty] = (
        _MINUTE,
        5 * _MINUTE,
        15 * _MINUTE,
        _HOUR,
        3 * _HOUR,
        6 * _HOUR,
    )
    give_up: Wait = 3 * _DAY
    delay_warning: Wait = 4 * _HOUR
    keep_finished: Duration = 7 * _DAY


class Http(Section):
    address: IpAddress = "127.0.0.1"
    port: Port = 8025


class Log(Section):
    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"
