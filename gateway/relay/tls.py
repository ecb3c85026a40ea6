"""TLS towards a next hop: which certificates count."""

import re
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from gateway.config import NextHop
from gateway.errors import ConfigError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def client_tls(hop: NextHop) -> IOpenSSLClientConnectionCreator:
    """How to start TLS with `hop`. Raises ConfigError when its file of authorities cannot be used."""
    if not hop.verify:
        return _Unverified(hop.host)
    roots = platformTrust() if hop.ca is None else trustRootFromCertificates(_authorities(hop.ca))
    creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(hop.host, trustRoot=roots)
    return creator


def _authorities(path: Path) -> list[Certificate]:
    try:
        found = [Certificate.loadPEM(text) for text in _CERTIFICATE.findall(path.read_bytes())]
    except (OSError, SSL.Error, ValueError) as error:
        raise ConfigError([f"relay.next_hop: ca: cannot read {path} ({type(error).__name__})"]) from None
    if not found:
        raise ConfigError([f"relay.next_hop: ca: no certificate in {path}; it should be a PEM file of authorities"])
    return found


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Encrypted against listeners, with no proof of who answers: better than clear text (RFC 7435)."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if not _is_literal(self._host):  # RFC 6066 section 3: no addresses in server_name
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


def _is_literal(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()
