"""The TLS that sessions are given: by the name a client asks for, and replaced whole when files change.

Sessions that are open keep the certificate they began with. A fault in a new file keeps everything as it was.

A client that comes again may resume its TLS session by a ticket (RFC 8446 section 4.6.1, RFC 5077): no certificate is sent and
nothing signed then. The keys of the tickets are each process's own, are never written down, and last a day: whoever learns them
could read the TLS 1.2 sessions that were resumed by them. Early data (0-RTT) is not taken.
"""

import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import maillog
from gateway.config import Config
from gateway.edge.certificates import KeyPair, check_dates, read_pair, self_signed
from gateway.errors import ConfigError
from gateway.net.tls_layer import TlsLayer

TICKET_KEYS_FOR = 86400.0  # seconds
# Of TLS 1.2: forward secrecy and authenticated encryption alone (RFC 9325 section 4.2); those of 1.3 are all such. SECLEVEL 2:
# no keys below 112 bits (RSA with 1024), whatever the system's default is.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:@SECLEVEL=2"

_Stamps = tuple[tuple[Path, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Files:
    """A pair that was read and found good. `where` is its table's key path."""

    where: str
    certificate: Path
    key: Path
    pair: KeyPair


class ServerTls:
    """Made from the configuration; the constructor raises ConfigError. `now` gives seconds since the epoch."""

    def __init__(self, config: Config, now: Callable[[], float]) -> None:
        self._now = now
        self._default: ssl.SSLContext
        self._names: dict[str, ssl.SSLContext] = {}
        self._stamps: _Stamps = ()
        self._stale = 0.0
        self.expires = 0.0
        self.is_self_signed = False
        self.load(config)

    def load(self, config: Config) -> None:
        """Read every file and only then use them. Raises ConfigError with everything as it was."""
        stamps = _stamps(config)
        files = _files(config, self._now())
        minimum = ssl.TLSVersion.TLSv1_3 if config.tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        contexts = _contexts(files, minimum)
        names = {name.lower(): context for sni, context in zip(config.tls.sni, contexts[1:], strict=True) for name in sni.names}
        if names:  # else whatever name a client asks for, were it none at all, gets the one there is
            for context in contexts:
                context.sni_callback = self._choose
            sys.unraisablehook = _unraisable
        self._default, self._names, self._stamps = contexts[0], names, stamps
        self._stale = self._now() + TICKET_KEYS_FOR
        self.expires = min(each.pair.expires for each in files)
        self.is_self_signed = config.tls.certificate is None

    def load_if_changed(self, config: Config) -> None:
        """Pick up renewed files, and new keys of tickets once a day; a fault is logged and leaves everything as it is."""
        stamps = _stamps(config)
        renewed = stamps != self._stamps
        if not renewed and self._now() < self._stale:
            return
        try:
            self.load(config)
        except ConfigError as error:
            self._stamps = stamps  # say it once, not at every look
            self._stale = self._now() + TICKET_KEYS_FOR
            maillog.certificate_refused(error.problems)
        else:
            if renewed:
                maillog.certificate_loaded(self.expires - self._now())

    def start(self, transport: Any, protocol: Any) -> None:
        """Begin TLS between `protocol` and the transport it has."""
        TlsLayer(self._default, protocol).start(transport)

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """RFC 6066 section 3: the certificate for the name the client asks for, else the default one."""
        chosen = self._names.get((name or "").lower())
        if chosen is not None:
            connection.context = chosen


def _unraisable(fault: Any) -> None:
    """A name that is not ASCII ends its handshake before `_choose`; Python would print a traceback for each of them."""
    if not (isinstance(fault.exc_value, UnicodeDecodeError) and isinstance(fault.object, bytes)):
        sys.__unraisablehook__(fault)


def _files(config: Config, now: float) -> list[_Files]:
    """The default pair, then one for each `[[tls.sni]]`. Raises ConfigError with all faults."""
    tls = config.tls
    files = [("tls", tls.certificate, tls.key)]
    if tls.certificate is None:
        files = [("tls", *self_signed(config.server.state_dir, config.server.hostname, now))]
    files += [(f"tls.sni.{number}", sni.certificate, sni.key) for number, sni in enumerate(tls.sni, 1)]
    good, problems = [], []
    for where, certificate, key in files:
        assert certificate is not None
        assert key is not None
        try:
            pair = read_pair(certificate, key, where)
            check_dates(pair, now, where)
            good.append(_Files(where, certificate, key, pair))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return good


def _contexts(files: list[_Files], minimum: ssl.TLSVersion) -> list[ssl.SSLContext]:
    contexts, problems = [], []
    for each in files:
        try:
            contexts.append(_context(each, minimum))
        except OSError as error:  # a key too short for today, for one; ssl.SSLError is an OSError
            reason = (getattr(error, "reason", None) or "no reason given").replace("_", " ").lower()
            problems.append(f"{each.where}: TLS cannot use this certificate and key: {reason}")
    if problems:
        raise ConfigError(problems)
    return contexts


def _context(files: _Files, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """No renegotiation, no compression, our order of ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.num_tickets = 1  # the usual two make a handshake dearer; a client that has used its one gets another
    context.load_cert_chain(files.certificate, files.key, password="")  # a key that got a passphrase meanwhile: no prompt
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
