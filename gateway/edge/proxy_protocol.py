"""Reads the header that a proxy sends in front of its client's octets: the PROXY protocol, version 1 (a line) or 2 (binary).

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. Whether the sender is to be believed is decided elsewhere.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.edge.limits import unmapped

MAX_LINE = 107  # octets of a version 1 line with its CRLF, section 2.1
MAX_BLOCK = 4096  # octets behind the fixed part of version 2; it could say 65,535, but addresses and TLVs in use need about 500

OWN = b"PROXY UNKNOWN\r\n"  # the header of somebody who speaks for himself

_WORD = b"PROXY "
_ADDRESS = rb"([0-9A-Fa-f:.]+)"
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(  # of UNKNOWN the rest is to be ignored
    rb"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) " + rb" ".join((_ADDRESS, _ADDRESS, _PORT, _PORT)) + rb")", re.DOTALL
)
_VERSIONS: dict[bytes, type[IPv4Address | IPv6Address]] = {b"4": IPv4Address, b"6": IPv6Address}

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16  # octets: signature, version and command, family and transport, length of what follows
_LOCAL, _PROXY = 0x20, 0x21  # version 2 and the command
_FAMILIES = 4  # unspecified, IPv4, IPv6, UNIX
_TRANSPORTS = 3  # unspecified, stream, datagram
_ENDS: dict[int, tuple[type[IPv4Address | IPv6Address], int]] = {  # TCP over IP: two addresses of so many octets
    0x11: (IPv4Address, 4),
    0x21: (IPv6Address, 16),
}
_PORTS = 4  # octets of both, behind the addresses


class BadHeader(ValueError):
    """What was received is no PROXY header. The text is one of ours and has nothing of the peer's."""


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header: its length in octets, and the client's IP address, "" when the connection is the proxy's own."""

    length: int
    client: str


def read(received: bytes) -> Header | None:
    """The header that `received` begins with; None while more of it has to come. Raises BadHeader.

    An IPv4 address mapped into IPv6 is given as IPv4. The proxy speaks for itself where it says so (LOCAL) and where it
    forwards something else than TCP over IP.
    """
    if received.startswith(_SIGNATURE):
        return _binary(received)
    if received.startswith(_WORD):
        return _line(received)
    if _SIGNATURE.startswith(received) or _WORD.startswith(received):
        return None
    raise BadHeader("what it sends does not begin with a PROXY header")


def _line(received: bytes) -> Header | None:
    end = received.find(b"\r\n", 0, MAX_LINE)
    if end >= 0:
        return Header(end + 2, _named_in(received[:end]))
    if len(received) < MAX_LINE:
        return None
    raise BadHeader("its PROXY line is too long")


def _named_in(line: bytes) -> str:
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadHeader("its PROXY line is malformed")
    version, source, destination, *ports = found.groups()
    if version is None:
        return ""
    if any(int(port) > 0xFFFF for port in ports):
        raise BadHeader("its PROXY line has a port past 65535")
    address = _VERSIONS[version]
    try:
        address(destination.decode("ascii"))
        return str(unmapped(address(source.decode("ascii"))))
    except ValueError:
        raise BadHeader("its PROXY line has a malformed address") from None


def _binary(received: bytes) -> Header | None:
    if len(received) < _FIXED:
        return None
    command, kind = received[12], received[13]
    length = int.from_bytes(received[14:_FIXED], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("its PROXY header has an unknown version or command")
    if length > MAX_BLOCK:
        raise BadHeader("its PROXY header is too long")
    if command == _PROXY and (kind >> 4 >= _FAMILIES or kind & 15 >= _TRANSPORTS):
        raise BadHeader("its PROXY header has an unknown family or transport")
    end = _FIXED + length
    if len(received) < end:
        return None
    return Header(end, _source(kind, received[_FIXED:end]) if command == _PROXY else "")


def _source(kind: int, block: bytes) -> str:
    if kind not in _ENDS:
        return ""
    address, size = _ENDS[kind]
    if len(block) < 2 * size + _PORTS:
        raise BadHeader("its PROXY header is too short for its addresses")
    return str(unmapped(address(block[:size])))
