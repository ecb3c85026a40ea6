"""Certificates on disk: read and checked whole, or made for a first start."""

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import ConfigError

# Mail programs refuse certificates that live longer than 398 days (CA/Browser Forum, Baseline Requirements 6.3.2)
SELF_SIGNED_FOR = timedelta(days=397)
RENEWED_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain, leaf first, and the key of the leaf."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes

    @property
    def expires(self) -> float:
        """When the first certificate of the chain expires, in seconds since the epoch."""
        return min(certificate.not_valid_after_utc for certificate in self.chain).timestamp()


def read_pair(certificate: Path, key: Path, where: str) -> KeyPair:
    """Read PEM files. `where` is the table's key path for messages. Raises ConfigError."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(_read(certificate, f"{where}.certificate")))
    except ValueError:
        raise _fault(where, "certificate", certificate, "is not a PEM certificate chain") from None
    try:
        private = serialization.load_pem_private_key(_read(key, f"{where}.key"), password=None)
        fits = _public(private.public_key()) == _public(chain[0].public_key())
    except TypeError:
        raise _fault(where, "key", key, "is protected by a passphrase; store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _fault(where, "key", key, "is not a PEM private key of a kind that TLS can use") from None
    if not fits:
        raise _fault(where, "key", key, f"does not belong to the first certificate in {certificate}")
    return KeyPair(chain, private)


def check_dates(pair: KeyPair, now: float, where: str) -> None:
    """Raises ConfigError when the chain is not valid at `now`, seconds since the epoch."""
    moment = datetime.fromtimestamp(now, UTC)
    for certificate in pair.chain:
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            dates = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
            raise ConfigError([f"{where}.certificate: is valid from {dates}, not now; renew it"])


def self_signed(folder: Path, hostname: str, now: float) -> tuple[Path, Path]:
    """Certificate and key for `hostname` and localhost in `folder`, made if they are missing or no longer good.

    Raises ConfigError when they cannot be written.
    """
    certificate, key = folder / "self-signed.pem", folder / "self-signed.key"
    if not _still_good(certificate, key, hostname, now):
        try:
            _make(certificate, key, hostname, datetime.fromtimestamp(now, UTC))
        except OSError as error:
            raise ConfigError([f"server.state_dir: cannot write {error.filename}: {error.strerror}"]) from None
    return certificate, key


def _still_good(certificate: Path, key: Path, hostname: str, now: float) -> bool:
    try:
        pair = read_pair(certificate, key, "tls")
        check_dates(pair, now + RENEWED_BEFORE.total_seconds(), "tls")
    except ConfigError:
        return False
    leaf = pair.chain[0]
    if leaf.not_valid_after_utc - leaf.not_valid_before_utc > SELF_SIGNED_FOR:  # an earlier version made it
        return False
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return hostname in names.get_values_for_type(x509.DNSName)


def _make(certificate: Path, key: Path, hostname: str, now: datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in dict.fromkeys((hostname, "localhost"))]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
    begin = now - timedelta(hours=1)  # for clients whose clock is slow
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pkcs8 = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key, pkcs8, 0o600)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file in one step, so that nobody reads half of it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.rename(path)


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{key}: cannot read {path}: {error.strerror}"]) from None


def _public(key: object) -> bytes:
    encode = key.public_bytes  # type: ignore[attr-defined]
    encoded: bytes = encode(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _fault(where: str, key: str, path: Path, text: str) -> ConfigError:
    return ConfigError([f"{where}.{key}: {path} {text}"])
