"""The card that a start for trying prints: where to connect, as whom, and one line to copy."""

import shlex
import shutil

from gateway.config import Config

DEMO_LOGIN = "demo@example.com"


def card(config: Config, ports: dict[str, int]) -> str:
    """The card's text; `ports` has the port in use for each kind of listener there is: "starttls", "tls", "none"."""
    listen = next((entry for entry in config.listen if entry.security == "starttls"), config.listen[0])
    server = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.address, listen.address)  # noqa: S104 - shown, not bound
    password = _password(config)
    lines = [f"Server: {server}"]
    if "starttls" in ports:
        lines.append(f"STARTTLS port: {ports['starttls']}")
    if "tls" in ports:
        lines.append(f"TLS port: {ports['tls']}")
    lines += [
        f"User: {DEMO_LOGIN}",
        f"Password: {password or '(the one you set; smtp-gateway accounts passwd changes it)'}",
        f"Mail arrives in: {_destination(config)}",
        f"Try: {_try(server, ports, password or 'PASSWORD')}",
    ]
    return "\n" + "\n".join(lines) + "\n\n"


def _password(config: Config) -> str:
    try:
        return (config.server.state_dir / "demo-password").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _destination(config: Config) -> str:
    hop = config.relay.next_hop[0]
    if hop.path is None:
        return f"(relayed to {hop.label})"
    return str(hop.path.relative_to(config.base) if hop.path.is_relative_to(config.base) else hop.path)


# How each kind of listener is spoken to: swaks's option, curl's scheme and options
_SWAKS = {"starttls": "--tls ", "tls": "--tlsc ", "none": ""}
_CURL = {"starttls": ("smtp", "--insecure --ssl-reqd "), "tls": ("smtps", "--insecure "), "none": ("smtp", "")}


def _try(server: str, ports: dict[str, int], password: str) -> str:
    """One line to copy, for the best listener there is."""
    security = next(kind for kind in ("starttls", "tls", "none") if kind in ports)
    host = f"[{server}]" if ":" in server else server
    if shutil.which("swaks"):
        return (
            f"swaks --server {host}:{ports[security]} {_SWAKS[security]}--auth PLAIN --auth-user {DEMO_LOGIN} "
            f"--auth-password {shlex.quote(password)} --from {DEMO_LOGIN} --to friend@example.net --header 'Subject: Hello'"
        )
    scheme, options = _CURL[security]
    return (
        f"printf 'To: friend@example.net\\r\\nSubject: Hello\\r\\n\\r\\nHello!\\r\\n' | curl --silent --show-error "
        f"{options}--url {scheme}://{host}:{ports[security]} --user {shlex.quote(f'{DEMO_LOGIN}:{password}')} "
        f"--mail-from {DEMO_LOGIN} --mail-rcpt friend@example.net --upload-file -"
    )
