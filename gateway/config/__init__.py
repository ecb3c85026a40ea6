"""The configuration: one TOML file becomes frozen, checked values, or a list of all its mistakes.

`load` reads it, `reloaded` says what a running gateway takes of it, `show` prints it with the secrets masked, `SAMPLE` is what
`smtp-gateway init` writes.
"""

from gateway.config.hop import NextHop
from gateway.config.login_table import Accounts, ActiveColumn, Columns
from gateway.config.model import Config
from gateway.config.reading import load
from gateway.config.reloading import reloaded
from gateway.config.sample import SAMPLE
from gateway.config.sections import Http, Limits, Listen, Lockout, Log, Relay, Senders, Server, Sni, Store, Tls
from gateway.config.show import show

__all__ = [
    "SAMPLE",
    "Accounts",
    "ActiveColumn",
    "Columns",
    "Config",
    "Http",
    "Limits",
    "Listen",
    "Lockout",
    "Log",
    "NextHop",
    "Relay",
    "Senders",
    "Server",
    "Sni",
    "Store",
    "Tls",
    "load",
    "reloaded",
    "show",
]
