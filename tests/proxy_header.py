"""PROXY headers as a proxy writes them."""

from ipaddress import IPv4Address, IPv6Address, ip_address

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
TCP4, TCP6 = 0x11, 0x21
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
HERE = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}  # the proxy's end of the client's connection


def version1(client: str, ports: tuple[int, int] = (40000, 587)) -> bytes:
    version = ip_address(client).version
    return f"PROXY TCP{version} {client} {HERE[version]} {ports[0]} {ports[1]}\r\n".encode("ascii")


def version2(client: str, tlvs: bytes = b"", ports: tuple[int, int] = (40000, 587)) -> bytes:
    ip = ip_address(client)
    ends: list[IPv4Address | IPv6Address] = [ip, ip_address(HERE[ip.version])]
    block = b"".join(end.packed for end in ends) + b"".join(port.to_bytes(2, "big") for port in ports) + tlvs
    return binary(0x21, TCP4 if ip.version == 4 else TCP6, block)


def binary(command: int, kind: int, block: bytes) -> bytes:
    """Version 2: version and command, family and transport, and the rest with its length."""
    return SIGNATURE + bytes([command, kind]) + len(block).to_bytes(2, "big") + block
