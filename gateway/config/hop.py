"""Next hops: reading `relay.next_hop` URLs, whose mistakes are named without ever repeating a password."""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from pydantic import SecretStr

from gateway.config.files import read_secret

HopTls = Literal["none", "opportunistic", "required"]

NO_SECRET = SecretStr("")
_DEFAULT_PORTS = {"smtp": 25, "smtps": 465}
_OPTIONS = ("tls", "verify", "ca", "password_file")
_SERVER = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?))(?::(?P<port>[0-9]{1,5}))?/?"
)
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class NextHop:
    """One place mail goes to. For a Maildir only `kind` and `path` count; for a server `path` is None.

    `user` is "" when the hop wants no sign-in. `verify` asks for a valid certificate that names `host`; `ca` is a PEM
    file of authorities to trust instead of the system's.
    """

    kind: Literal["smtp", "smtps", "maildir"]
    host: str = ""
    port: int = 0
    user: str = ""
    password: SecretStr = NO_SECRET
    tls: HopTls = "none"
    verify: bool = False
    ca: Path | None = None
    path: Path | None = None

    @property
    def label(self) -> str:
        """The name in metrics and logs: "smart.example.net:587", "[::1]:25" or "maildir"."""
        if self.kind == "maildir":
            return "maildir"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, base: Path) -> NextHop:
    """Read "smtp://[user:password@]host[:port][?options]", "smtps://..." or "maildir:folder".

    Files and folders are relative to `base`. User and password are percent-decoded. Raises ValueError, whose text has
    nothing of `text` in it: a password with a raw "/" or "?" can end up in any part.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "maildir":
        return _maildir(rest, base)
    if scheme not in _DEFAULT_PORTS or not rest.startswith("//"):
        raise ValueError('is not a next hop; write "smtp://host:25", "smtps://host:465" or "maildir:folder"')
    authority, _, query = rest[2:].partition("?")
    userinfo, _, server = authority.rpartition("@")
    host, port = _server(server, _DEFAULT_PORTS[scheme])
    options = _options(query)
    user, password = _credentials(userinfo, options, base)
    kind: Literal["smtp", "smtps"] = "smtps" if scheme == "smtps" else "smtp"
    tls = _tls(kind, options.get("tls"), signs_in=bool(user))
    verify, ca = _verification(options, tls, base)
    return NextHop(kind, host, port, user, SecretStr(password), tls, verify, ca)


def resolved(hop: NextHop, base: Path) -> NextHop:
    """The hop with its Maildir made absolute."""
    return replace(hop, path=base / hop.path) if hop.path is not None else hop


def masked(hop: NextHop) -> str:
    """The URL that `parse` reads, with asterisks for the password."""
    if hop.kind == "maildir":
        return f"maildir:{hop.path}"
    options = [f"tls={hop.tls}"] if hop.kind == "smtp" else []
    options += [f"verify={'yes' if hop.verify else 'no'}"] if hop.tls != "none" else []
    options += [f"ca={quote(str(hop.ca))}"] if hop.ca else []
    userinfo = f"{quote(hop.user, safe='')}:********@" if hop.user else ""
    return f"{hop.kind}://{userinfo}{hop.label}?{'&'.join(options)}"


def _maildir(folder: str, base: Path) -> NextHop:
    if not folder or folder.startswith("//") or "\0" in folder:
        raise ValueError('names no folder; write "maildir:var/mail" or "maildir:/absolute/folder"')
    return NextHop("maildir", path=base / folder)


def _server(text: str, default_port: int) -> tuple[str, int]:
    found = _SERVER.fullmatch(text)
    if found is None or ".." in text:
        raise ValueError(
            "has no server that we understand; write host, host:port or [IPv6 address]:port, with nothing after it but"
            " ?options, and percent-encode the characters @ : / ? # % of a password"
        )
    port = int(found["port"]) if found["port"] else default_port
    if not 1 <= port <= 65535:
        raise ValueError("has a port that does not exist; ports go from 1 to 65535")
    return (_ipv6(found["six"]) if found["six"] else found["name"].lower()), port


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("has something in brackets that is not an IPv6 address; write for instance [2001:db8::1]") from None


def _options(query: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in _OPTIONS:
            close = difflib.get_close_matches(name, _OPTIONS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(_OPTIONS)}"
            raise ValueError(f"has an option that does not exist; {hint}")
        if name in options:
            raise ValueError(f"has the option {name} twice; write it once")
        options[name] = _decoded(value, f"the option {name}")
    return options


def _decoded(text: str, what: str) -> str:
    """Percent-decoded `text`; `what` names it. No control characters: NUL parts the fields of SASL PLAIN (RFC 4616)."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"has bytes in {what} that are not UTF-8; percent-encode it as UTF-8") from None
    if any(c < " " or c == "\x7f" for c in plain):
        raise ValueError(f"has a control character in {what}; leave it out")
    return plain


def _credentials(userinfo: str, options: Mapping[str, str], base: Path) -> tuple[str, str]:
    name, colon, secret = userinfo.partition(":")
    user, password = _decoded(name, "the user"), _decoded(secret, "the password")
    if "password_file" in options:
        if colon:
            raise ValueError("has a password and password_file; give one of them")
        password = _decoded_file(options["password_file"], base)
    if bool(user) != bool(password):
        raise ValueError("needs both a user and a password, or neither; write smtp://user:password@host")
    return user, password


def _decoded_file(name: str, base: Path) -> str:
    try:
        return read_secret(base / name)
    except ValueError as problem:
        raise ValueError(f"has a password_file that {problem}") from None


def _tls(kind: str, given: str | None, *, signs_in: bool) -> HopTls:
    if kind == "smtps":
        if given not in (None, "required"):
            raise ValueError("is smtps, which always has TLS; leave tls out or use smtp://")
        return "required"
    match given:
        case None:
            return "required" if signs_in else "opportunistic"
        case "opportunistic" if signs_in:  # whoever strips STARTTLS from the answer would be given the password
            raise ValueError("could send the password in clear; use tls=required, or tls=none on a network you trust")
        case "none" | "opportunistic" | "required":
            return given
        case _:
            raise ValueError("has an unknown value of tls; use tls=none, tls=opportunistic or tls=required")


def _verification(options: Mapping[str, str], tls: HopTls, base: Path) -> tuple[bool, Path | None]:
    given = options.get("verify")
    if given is not None and given not in _TRUTH:
        raise ValueError("has an unknown value of verify; use verify=yes or verify=no")
    verify = _TRUTH[given] if given is not None else tls == "required"
    if verify and tls == "opportunistic":  # a wrong certificate would make it go on in clear, which is worse
        raise ValueError("has verify=yes without tls=required; write tls=required, or leave verify out")
    if verify and tls == "none":
        raise ValueError("has verify=yes and tls=none; without TLS there is no certificate to verify")
    if "ca" not in options:
        return verify, None
    if not verify or not options["ca"]:
        raise ValueError("has a ca that would not be used; give a file, with tls=required")
    return verify, base / options["ca"]
