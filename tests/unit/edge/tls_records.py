"""TLS 1.3 records made by hand, for what no honest client's library sends (RFC 8446 sections 5.2, 5.3, 7.1 and 7.3)."""

import hmac
import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.edge.tls_case import client_context

HANDSHAKE = 22
APPLICATION_DATA = 23
UPDATE_KEYS = b"\x18\x00\x00\x01\x01"  # and update yours, section 4.6.3


def context_with_secrets(file: Path) -> ssl.SSLContext:
    """A client that writes its secrets into `file`."""
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(file)
    return context


class Records:
    """What a client may send after its handshake, when it has TLS_AES_256_GCM_SHA384."""

    def __init__(self, secrets: Path) -> None:
        names = dict(line.split(maxsplit=1) for line in secrets.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC"))
        self._begin(bytes.fromhex(names["CLIENT_TRAFFIC_SECRET_0"].split()[1]))

    def record(self, kind: int, content: bytes) -> bytes:
        text = content + bytes([kind])
        head = b"\x17\x03\x03" + struct.pack(">H", len(text) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return head + self._key.encrypt(nonce, text, head)

    def new_keys(self) -> bytes:
        """The record that announces new keys, which the next record is then made with."""
        record = self.record(HANDSHAKE, UPDATE_KEYS)
        self._begin(_expanded(self._secret, b"traffic upd", 48))
        return record

    def _begin(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(_expanded(secret, b"key", 32))
        self._iv = int.from_bytes(_expanded(secret, b"iv", 12), "big")
        self._number = 0


def _expanded(secret: bytes, label: bytes, octets: int) -> bytes:
    label = b"tls13 " + label
    return hmac.digest(secret, struct.pack(">HB", octets, len(label)) + label + b"\0\x01", "sha384")[:octets]
