"""The TLS that sessions are given: by the name a client asks for, and replaced whole when files change.

Sessions that are open keep the certificate they began with. A fault in a new file keeps everything as it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from gateway import maillog
from gateway.config import Config
from gateway.edge.certificates import KeyPair, check_dates, read_pair, self_signed
from gateway.errors import ConfigError

_Stamps = tuple[tuple[Path, int, int], ...]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Made from the configuration; the constructor raises ConfigError. `now` gives seconds since the epoch."""

    def __init__(self, config: Config, now: Callable[[], float]) -> None:
        self._now = now
        self._default: SSL.Context
        self._names: dict[bytes, SSL.Context] = {}
        self._stamps: _Stamps = ()
        self.expires = 0.0
        self.is_self_signed = False
        self.load(config)

    def load(self, config: Config) -> None:
        """Read every file and only then use them. Raises ConfigError with everything as it was."""
        stamps = _stamps(config)
        pairs = _pairs(config, self._now())
        minimum = TLSVersion.TLSv1_3 if config.tls.min_version == "1.3" else TLSVersion.TLSv1_2
        contexts = _contexts(pairs, minimum)
        names = {
            name.encode("ascii").lower(): context
            for sni, context in zip(config.tls.sni, contexts[1:], strict=True)
            for name in sni.names
        }
        for context in contexts:
            context.set_tlsext_servername_callback(self._choose)
        self._default, self._names, self._stamps = contexts[0], names, stamps
        self.expires = min(pair.expires for _, pair in pairs)
        self.is_self_signed = config.tls.certificate is None

    def load_if_changed(self, config: Config) -> None:
        """Pick up renewed files; a fault is logged and leaves everything as it is."""
        stamps = _stamps(config)
        if stamps == self._stamps:
            return
        try:
            self.load(config)
        except ConfigError as error:
            self._stamps = stamps  # say it once, not at every look
            maillog.certificate_refused(error.problems)
        else:
            maillog.certificate_loaded(self.expires - self._now())

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._default, None)

    def _choose(self, connection: SSL.Connection) -> None:
        """RFC 6066 section 3: the certificate for the name the client asks for, else the default one."""
        context = self._names.get((connection.get_servername() or b"").lower())
        if context is not None:
            connection.set_context(context)


def _pairs(config: Config, now: float) -> list[tuple[str, KeyPair]]:
    """The default pair, then one for each `[[tls.sni]]`, with their key paths. Raises ConfigError with all faults."""
    tls = config.tls
    files = [("tls", tls.certificate, tls.key)]
    if tls.certificate is None:
        files = [("tls", *self_signed(config.server.state_dir, config.server.hostname, now))]
    files += [(f"tls.sni.{number}", sni.certificate, sni.key) for number, sni in enumerate(tls.sni, 1)]
    pairs, problems = [], []
    for where, certificate, key in files:
        assert certificate is not None
        assert key is not None
        try:
            pair = read_pair(certificate, key, where)
            check_dates(pair, now, where)
            pairs.append((where, pair))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return pairs


def _contexts(pairs: list[tuple[str, KeyPair]], minimum: object) -> list[SSL.Context]:
    contexts, problems = [], []
    for where, pair in pairs:
        try:
            contexts.append(_context(pair, minimum))
        except SSL.Error as error:  # a key too short for today, for one
            problems.append(f"{where}: TLS cannot use this certificate and key: {_reason(error)}")
    if problems:
        raise ConfigError(problems)
    return contexts


def _reason(error: Exception) -> str:
    """OpenSSL's own words: its exceptions carry a list of (library, function, reason)."""
    said = error.args[0] if error.args else []
    return "; ".join(str(entry[-1]) for entry in said) or "no reason given"


def _context(pair: KeyPair, minimum: object) -> SSL.Context:
    """Twisted's choice of ciphers and options (no renegotiation, no compression)."""
    key: Any = pair.key  # pyOpenSSL takes cryptography's objects; Twisted's annotations still ask for its old ones
    chain: list[Any] = list(pair.chain)
    leaf, *rest = chain
    options = CertificateOptions(privateKey=key, certificate=leaf, extraCertChain=rest, raiseMinimumTo=minimum)
    context: SSL.Context = options.getContext()
    return context


def _stamps(config: Config) -> _Stamps:
    """What tells that a file has changed: when and how long, for each that is configured."""
    files = [config.tls.certificate, config.tls.key]
    files += [path for sni in config.tls.sni for path in (sni.certificate, sni.key)]
    return tuple(_stamp(path) for path in files if path is not None)


def _stamp(path: Path) -> tuple[Path, int, int]:
    try:
        status = path.stat()
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size
