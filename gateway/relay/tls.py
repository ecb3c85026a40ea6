"""TLS towards a next hop: which certificates count.

OpenSSL checks the chain and the name within the handshake (RFC 9525: subject alternative names alone, an address only against
an address). A certificate without such a name, or with an odd one, is refused there: no code of ours looks at names.
"""

import ssl
from typing import Any

from gateway.config import NextHop
from gateway.errors import ConfigError
from gateway.net.tls_layer import TlsLayer


class ClientTls:
    """How to start TLS with `hop`. The constructor raises ConfigError when its name or file of authorities cannot be used."""

    def __init__(self, hop: NextHop) -> None:
        self._host = hop.host
        try:
            self._context = context_for(hop)
            self._context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=hop.host)
        except ssl.SSLError:
            raise ConfigError(
                [f"relay.next_hop: ca: no certificate in {hop.ca}; it should be a PEM file of authorities"]
            ) from None
        except OSError as error:
            raise ConfigError([f"relay.next_hop: ca: cannot read {hop.ca}: {error.strerror}"]) from None
        except ValueError:  # a label that is too long
            raise ConfigError([f"relay.next_hop: {hop.host} is no host name; no certificate can be for it"]) from None

    def start(self, transport: Any, protocol: Any) -> None:
        """Begin TLS between `protocol` and the transport it has. Addresses are not sent as names (RFC 6066 section 3)."""
        TlsLayer(self._context, protocol, asked=self._host).start(transport)


def context_for(hop: NextHop) -> ssl.SSLContext:
    """What is taken for TLS with `hop`. Raises OSError (ssl.SSLError is one) when its file of authorities cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # with check_hostname and CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    if not hop.verify:  # encrypted against listeners, with no proof of who answers: better than clear text (RFC 7435)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif hop.ca is None:
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(hop.ca)
    return context


def reason_of(error: BaseException | None) -> str:
    """Why a handshake failed, in OpenSSL's own words where it has some. An error that Python made lacks them."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {getattr(error, 'verify_message', '') or 'no reason given'}"
    reason = getattr(error, "reason", "") if isinstance(error, ssl.SSLError) else ""
    return reason.replace("_", " ").lower() if reason else "connection lost"
