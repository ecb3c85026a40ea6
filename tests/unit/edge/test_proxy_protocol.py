"""PROXY headers: each form, whatever is wrong with one, however little of it is there."""

import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.proxy_protocol import MAX_BLOCK, BadHeader, Header, read
from tests.proxy_header import LOCAL, SIGNATURE, binary, version1, version2

NAMES = "0123:4567:89ab:cdef:0123:4567:89ab:cdef"
LONGEST = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"  # 107 octets
FOUR = IPv4Address("192.0.2.7").packed + IPv4Address("198.51.100.1").packed + b"\x9c\x40\x02\x4b"
SIX = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x9c\x40\x02\x4b"

GOOD = [
    # version 1
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n", "192.0.2.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 0.0.0.1 0.0.0.0 0 0\r\n", "0.0.0.1"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 587\r\n", "2001:db8::7"),
    (b"PROXY TCP6 2001:DB8:0:0::7 ::1 1 2\r\n", "2001:db8::7"),
    (f"PROXY TCP6 {NAMES} {NAMES} 65535 65535\r\n".encode(), str(IPv6Address(NAMES))),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 40000 587\r\n", "192.0.2.7"),
    (b"PROXY TCP6 ::ffff:c000:207 ::1 40000 587\r\n", "192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
    (b"PROXY UNKNOWN \xff\0\r \n whatever\r\n", ""),
    (LONGEST, ""),
    # version 2
    (version2("192.0.2.7"), "192.0.2.7"),
    (version2("2001:db8::7"), "2001:db8::7"),
    (version2("::ffff:192.0.2.7"), "192.0.2.7"),
    (version2("192.0.2.7", b"\x04\x00\x03abc\x20\x00\x00"), "192.0.2.7"),
    (version2("192.0.2.7", b"no TLV at all"), "192.0.2.7"),
    (version2("192.0.2.7", bytes(MAX_BLOCK - 12)), "192.0.2.7"),
    (LOCAL, ""),
    (binary(0x20, 0x11, FOUR), ""),  # LOCAL: what it says besides is to be ignored
    (binary(0x20, 0xFF, b"xyz"), ""),
    (binary(0x21, 0x00, b""), ""),
    (binary(0x21, 0x00, b"something"), ""),
    (binary(0x21, 0x01, FOUR), ""),
    (binary(0x21, 0x10, FOUR), ""),
    (binary(0x21, 0x12, FOUR), ""),  # UDP
    (binary(0x21, 0x22, SIX), ""),
    (binary(0x21, 0x31, b"/run/a".ljust(108, b"\0") * 2), ""),  # UNIX
    (binary(0x21, 0x32, bytes(216)), ""),
]


@pytest.mark.parametrize(("octets", "client"), GOOD)
def test_a_header_ends_where_it_ends_and_names_the_client(octets: bytes, client: str) -> None:
    assert read(octets) == Header(len(octets), client)
    assert read(octets + b"EHLO x\r\n\r\n") == Header(len(octets), client)


@pytest.mark.parametrize("octets", [octets for octets, _ in GOOD])
def test_any_part_of_a_header_waits_for_the_rest(octets: bytes) -> None:
    assert [length for length in range(len(octets)) if read(octets[:length]) is not None] == []


BAD = [
    # neither
    b"EHLO x\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.7 198.51.100.1 40000 587\r\n",
    b" PROXY",
    b"PROXYTCP4",
    b"PROXY\r\n",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"\r\n\r\n\0\r\nQUIZ",
    # version 1: as a whole
    b"PROXY \r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.7  198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.7\t198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\n\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 40000 587\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 40000 587\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY unknown\r\n",
    LONGEST[:-2] + b"x\r\n",
    LONGEST[:-2] + b"xx",
    # version 1: addresses
    b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 587\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 3221225991 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.0/24 198.51.100.1 40000 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100 40000 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1.1 40000 587\r\n",
    "PROXY TCP4 192.0.2.\N{ARABIC-INDIC DIGIT SEVEN} 198.51.100.1 40000 587\r\n".encode(),
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 587\r\n",
    b"PROXY TCP6 2001:db8:::7 2001:db8::1 40000 587\r\n",
    b"PROXY TCP6 2001:db8::00007 2001:db8::1 40000 587\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8 40000 587\r\n",
    b"PROXY TCP6 [2001:db8::7] 2001:db8::1 40000 587\r\n",
    b"PROXY TCP6 ::ffff:192.0.2.07 2001:db8::1 40000 587\r\n",
    # version 1: ports
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 040000 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 0587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 00 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 587\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 587\r\n",
    # version 2
    binary(0x11, 0x11, FOUR),
    binary(0x31, 0x11, FOUR),
    binary(0x22, 0x11, FOUR),
    binary(0x2F, 0x11, FOUR),
    binary(0x21, 0x13, FOUR),
    binary(0x21, 0x1F, FOUR),
    binary(0x21, 0x41, FOUR),
    binary(0x21, 0xF1, FOUR),
    binary(0x21, 0x11, FOUR[:-1]),
    binary(0x21, 0x11, b""),
    binary(0x21, 0x21, SIX[:-1]),
    binary(0x21, 0x21, FOUR),
    binary(0x21, 0x11, bytes(MAX_BLOCK + 1)),
    SIGNATURE + b"\x20\x00\xff\xff",  # refused before it is waited for
    SIGNATURE + b"\x21\x11\x10\x01",
]


@pytest.mark.parametrize("octets", BAD)
def test_anything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(BadHeader):
        read(octets)


ADDRESSES = st.ip_addresses().map(str)
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535))


@given(ADDRESSES, PORTS, st.sampled_from([version1, version2]), st.binary(max_size=200))
def test_what_a_proxy_writes_is_read(client: str, ports: tuple[int, int], write: Callable[..., bytes], behind: bytes) -> None:
    octets = write(client, ports=ports)
    ip = ip_address(client)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    assert read(octets + behind) == Header(len(octets), str(mapped or ip))


FIXED_1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n"
FIXED_2 = version2("192.0.2.7")


@pytest.mark.parametrize("position", [*range(11), 20, 33, 39, *range(43, len(FIXED_1))])
def test_each_octet_of_the_fixed_parts_of_a_line_counts(position: int) -> None:
    """The words, the spaces and the line end."""
    for octet in set(range(256)) - {FIXED_1[position]}:
        changed = FIXED_1[:position] + bytes([octet]) + FIXED_1[position + 1 :]
        found: object = "refused"
        with contextlib.suppress(BadHeader):
            found = read(changed)
        # A spoilt line end is waited for, up to the length of the longest line.
        assert found == ("refused" if position < len(FIXED_1) - 2 else None), (position, octet)


@pytest.mark.parametrize("position", range(16))
def test_each_octet_of_the_fixed_part_of_version_2_counts(position: int) -> None:
    for octet in set(range(256)) - {FIXED_2[position]}:
        changed = FIXED_2[:position] + bytes([octet]) + FIXED_2[position + 1 :]
        found: object = "refused"
        with contextlib.suppress(BadHeader):
            found = read(changed)
        assert found == _meant(position, octet), (position, octet)


def _meant(position: int, octet: int) -> object:
    """What FIXED_2 with this octet says: only few other values have a meaning, and none of them another client."""
    if position == 12 and octet == 0x20:
        return Header(len(FIXED_2), "")  # LOCAL
    if position == 13 and octet >> 4 < 4 and octet & 15 < 3 and octet != 0x21:
        return Header(len(FIXED_2), "")  # nothing that has TCP over IP
    if (position == 14 and octet < 0x10) or (position == 15 and octet > 12):
        return None  # more TLVs are to come
    return "refused"


@given(st.one_of(st.binary(), st.binary().map(b"PROXY ".__add__), st.binary().map(SIGNATURE.__add__)))
def test_random_octets_are_refused_or_waited_for_or_read(octets: bytes) -> None:
    with contextlib.suppress(BadHeader):
        found = read(octets)
        assert found is None or found.length <= len(octets)
        assert found is None or found.client == "" or ip_address(found.client)


@given(st.binary(max_size=60), st.sampled_from([FIXED_1, FIXED_2, LOCAL, b"PROXY UNKNOWN\r\n"]), st.data())
def test_what_was_refused_once_is_refused_with_more_of_it(behind: bytes, octets: bytes, data: st.DataObject) -> None:
    """So the pieces that it comes in do not matter."""
    position = data.draw(st.integers(0, len(octets) - 1))
    octets = octets[:position] + behind + octets[position + 1 :]
    refused = False
    for length in range(len(octets) + 1):
        try:
            if read(octets[:length]) is not None:
                assert not refused
                return
        except BadHeader:
            refused = True
        else:
            assert not refused
