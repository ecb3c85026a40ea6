"""The kinds of value that settings have, each with the check that says what would be right."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr, ValidationInfo

from gateway import address
from gateway.config import database_url, hop
from gateway.config.units import format_duration, format_size, parse_duration, parse_size

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_Item = TypeVar("_Item")
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]*"
_COLUMN = re.compile(IDENTIFIER)
_TABLE = re.compile(rf"(?:{IDENTIFIER}\.)?{IDENTIFIER}")
_MASK = "********"


def base_of(info: ValidationInfo) -> Path:
    """The folder that relative paths start from."""
    context: Any = info.context
    return context["path"].parent if context else Path()


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):  # from "${PORT}"
        return int(value)
    raise ValueError("is not a whole number; write for instance 100, without quotes")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):  # from "${HIDE}"
        return value == "true"
    raise ValueError("is neither true nor false; write one of them, without quotes")


def _path(value: Path, info: ValidationInfo) -> Path:
    if value == Path() or "\0" in str(value):
        raise ValueError("names no file; write a path, or leave it out")
    return base_of(info) / value


def _network(value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        network = ipaddress.ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ValueError('is not a network; write for instance "192.0.2.0/24", "2001:db8::/32" or one address') from None
    if ipaddress.ip_interface(value).ip != network.network_address:  # type: ignore[arg-type]
        raise ValueError(f'is an address inside a network; did you mean "{network}"?')
    return network


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address("" if "%" in value else value))
    except ValueError:
        raise ValueError('is not an IP address; write "127.0.0.1", or "0.0.0.0" or "::" for all of this machine') from None


def host_name(value: str) -> str:
    """Check a DNS name (RFC 1123 section 2.1, in A-labels); lower case. Raises ValueError."""
    try:
        valid = value.isascii() and not value.startswith("[") and address.parse(f"postmaster@{value}").domain == value
    except address.AddressError:
        valid = False
    if not valid:
        raise ValueError('is not a host name; write for instance "smtp.example.com" (other letters in their xn-- form)')
    return value.lower()


def _optional_address(value: str) -> str:
    try:
        complete = not value or address.domain_flaw(address.parse(value).domain) is None
    except address.AddressError:
        complete = False
    if not complete:
        raise ValueError('is not a complete e-mail address; write for instance "postmaster@example.com"')
    return value


def _hop(value: object, info: ValidationInfo) -> hop.NextHop:
    if isinstance(value, hop.NextHop):
        return hop.resolved(value, base_of(info))
    if not isinstance(value, str):
        raise ValueError('is not text; write for instance "smtp://host:25"')
    return hop.parse(value, base_of(info))


def _hops(hops: tuple[hop.NextHop, ...]) -> tuple[hop.NextHop, ...]:
    labels = [each.label for each in hops]
    twice = [label for number, label in enumerate(labels) if label in labels[:number]]
    if twice:  # connections, back-off and metrics go by the label
        raise ValueError(f"names {twice[0]} twice; name each next hop once")
    return hops


def _some(values: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """For `Field(min_length=1)`, which also complains when the only item is wrong."""
    if not values:
        raise ValueError("is empty; name at least one")
    return values


def _url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    return SecretStr(database_url.absolute(value.get_secret_value(), base_of(info)))


def _column(value: str) -> str:
    if not _COLUMN.fullmatch(value):
        raise ValueError('is not a column name; write letters, digits, "_" and "$", as in "password_hash"')
    return value


def _optional_column(value: str) -> str:
    return _column(value) if value else ""


def table_name(value: str) -> str:
    """Check a table's or view's name, with a schema or without. Raises ValueError."""
    if not _TABLE.fullmatch(value):
        raise ValueError('is not a table name; write letters, digits, "_" and "$", as in "users" or "app.users"')
    return value


def _optional_table(value: str) -> str:
    return table_name(value) if value else ""


Count = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=65535)]
Ipv4Prefix = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=32)]
Ipv6Prefix = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=128)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, when_used="json"), Field(ge=1)]
Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
Wait = Annotated[Duration, Field(gt=0)]
FilePath = Annotated[Path, AfterValidator(_path), PlainSerializer(str, when_used="json")]
Networks = tuple[Annotated[Network, PlainValidator(_network), PlainSerializer(str, when_used="json")], ...]
IpAddress = Annotated[str, AfterValidator(_ip)]
HostName = Annotated[str, AfterValidator(host_name)]
Hop = Annotated[hop.NextHop, PlainValidator(_hop), PlainSerializer(hop.masked, when_used="json")]
Hops = Annotated[tuple[Hop, ...], AfterValidator(_hops)]
NonEmpty = AfterValidator(_some)
Column = Annotated[str, AfterValidator(_column)]
OptionalColumn = Annotated[str, AfterValidator(_optional_column)]
Table = Annotated[str, AfterValidator(table_name)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
OptionalTable = Annotated[str, AfterValidator(_optional_table)]
Secret = Annotated[SecretStr, PlainSerializer(lambda secret: _MASK if secret else "", when_used="json")]
DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_url),
    PlainSerializer(lambda url: database_url.masked(url.get_secret_value()), when_used="json"),
]
