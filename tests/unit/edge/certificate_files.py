"""Certificates on disk for tests, and the configuration that names them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway import config
from gateway.config import Config

AUTHORITY = trustme.CA()
NOW = datetime.now(UTC).timestamp()


def write_pair(folder: Path, name: str, *hosts: str, days: float = 30) -> None:
    """`name`.pem and `name`.key for `hosts`, valid for `days` from NOW on (less than none: expired)."""
    until = datetime.fromtimestamp(NOW, UTC) + timedelta(days=days)
    since = min(datetime.now(UTC), until) - timedelta(days=1)
    pair = AUTHORITY.issue_cert(*hosts, not_before=since, not_after=until)
    chain = b"".join(blob.bytes() for blob in pair.cert_chain_pems)
    (folder / f"{name}.pem").write_bytes(chain)
    (folder / f"{name}.key").write_bytes(pair.private_key_pem.bytes())


def write_short_key(folder: Path, name: str) -> None:
    """A pair whose RSA key has 1024 bits, which today's TLS refuses."""
    key = rsa.generate_private_key(65537, 1024)
    subject = x509.Name([])
    built = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, clear = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(built.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, pkcs8, clear))


def settings(folder: Path, tls: str = 'certificate = "a.pem"\nkey = "a.key"') -> Config:
    """A configuration in `folder` whose [tls] has those lines."""
    path = folder / "gateway.toml"
    login_table = '[accounts]\nurl = "sqlite:///accounts.db"\ntable = "users"\n'
    path.write_text(f"{login_table}[tls]\n{tls}\n", encoding="utf-8")
    return config.load(path, {})
