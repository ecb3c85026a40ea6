"""What `doctor` says of the certificates: readable, of one pair, not expired, for the right names."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.config import Config
from gateway.store.inspect import Finding

_SOON = timedelta(days=14)


def inspect(config: Config) -> Iterator[Finding]:
    tls = config.tls
    if tls.certificate and tls.key:
        yield from _pair("tls", tls.certificate, tls.key, [config.server.hostname])
    elif any(listen.security != "none" for listen in config.listen):
        text = "none given, so a self-signed one is made; mail programs will ask their owners whether to trust it"
        yield Finding("warning", "tls.certificate", text)
    for number, sni in enumerate(tls.sni, 1):
        yield from _pair(f"tls.sni.{number}", sni.certificate, sni.key, sni.names)


def _pair(key: str, certificate: Path, private: Path, names: Collection[str]) -> Iterator[Finding]:
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("problem", f"{key}.certificate", f"{certificate}: {_reason(error)}; give the chain in PEM form")
        return
    try:
        public = load_pem_private_key(private.read_bytes(), password=None).public_key()
    except (OSError, ValueError, TypeError) as error:
        yield Finding(
            "problem", f"{key}.key", f"{private}: {_reason(error)}; give the private key in PEM form, without a passphrase"
        )
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        yield Finding(
            "problem", f"{key}.key", "is not the key of the certificate (its first one); give the two that belong together"
        )
    yield _validity(f"{key}.certificate", chain[0])
    yield from _names(f"{key}.certificate", chain[0], names)


def _reason(error: Exception) -> str:
    """Without the parser's words, which may quote what it read."""
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "cannot be understood"


def _validity(key: str, certificate: x509.Certificate) -> Finding:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if certificate.not_valid_before_utc > now:
        return Finding(
            "problem", key, f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; check the clock"
        )
    if end < now:
        return Finding("problem", key, f"has expired on {end:%Y-%m-%d}; renew it")
    days = f"expires on {end:%Y-%m-%d}, in {(end - now).days} days"
    return Finding("warning", key, f"{days}; renew it") if end - now < _SOON else Finding("ok", key, days)


def _names(key: str, certificate: x509.Certificate, wanted: Collection[str]) -> Iterator[Finding]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        yield Finding("problem", key, "has no subject alternative names, so that no mail program takes it; ask for a new one")
        return
    has = [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)]
    for name in wanted:
        if not any(_covers(pattern, name) for pattern in has):
            yield Finding(
                "warning", key, f"is for {', '.join(has) or 'no host name'}, not for {name}; clients of that name refuse it"
            )


def _covers(pattern: str, name: str) -> bool:
    """RFC 6125 section 6.4.3: a wildcard stands for one whole label, the first."""
    return pattern == name or (pattern.startswith("*.") and "." in name and pattern[2:] == name.partition(".")[2])
