"""The peer: Postfix with Dovecot's SASL, private instances in a folder, as an operator would set them up for submission."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.failure import BenchmarkFailed
from benchmarks.programs import program
from tests.acceptance.free_port import free_port
from tests.acceptance.waiting import until

# As Debian's master.cf, but for the listener and for chroot, which a private instance has no files for.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
    -o syslog_name=postfix/submission
    -o smtpd_tls_security_level=encrypt
    -o smtpd_sasl_auth_enable=yes
    -o smtpd_tls_auth_only=yes
    -o smtpd_client_restrictions=permit_sasl_authenticated,reject
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
    -o smtpd_recipient_restrictions=
    -o milter_macro_daemon_name=ORIGINATING
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = localhost.localdomain
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
inet_protocols = ipv4
biff = no
append_dot_mydomain = no
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtp_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
relayhost = [127.0.0.1]:{sink}
smtpd_peername_lookup = no
message_size_limit = 41943040
default_process_limit = {processes}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_client_auth_rate_limit = 0
in_flow_delay = 0
"""

_DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain login
passdb {{
  driver = sql
  args = {folder}/sql.conf
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
"""

_SQL = """\
driver = sqlite
connect = {accounts}
default_pass_scheme = BLF-CRYPT
password_query = SELECT email AS user, password_hash AS password FROM users WHERE email = '%u' AND is_active = 1
"""

PROCESSES = 600  # smtpd at once: one a connection


class Postfix:
    """Reads the logins in the SQLite file `accounts`, relays to the port `sink`. Runs as root only, as Postfix does."""

    name = "postfix"

    def __init__(self, folder: Path, accounts: Path, sink: int, certificate: Path, key: Path) -> None:
        if os.geteuid() != 0:
            raise BenchmarkFailed("Postfix and Dovecot start as root only")
        self._folder = folder
        self.port = free_port()
        self._stack = ExitStack()
        for name, owner in (("queue", "root"), ("data", "postfix"), ("run", "root"), ("state", "root")):
            (folder / name).mkdir(mode=0o755, parents=True)
            shutil.chown(folder / name, owner)
        texts = {"master.cf": _MASTER, "main.cf": _MAIN, "dovecot.conf": _DOVECOT, "sql.conf": _SQL}
        for name, text in texts.items():
            values = {"folder": folder, "port": self.port, "sink": sink, "accounts": accounts, "processes": PROCESSES}
            (folder / name).write_text(text.format(**values, certificate=certificate, key=key), "utf-8")

    def __enter__(self) -> Self:
        with self._stack as stack:
            self._dovecot = self._start(stack, program("dovecot"), "-F", "-c", str(self._folder / "dovecot.conf"))
            until((self._folder / "auth").exists, self.story, 20.0)
            self._postfix = self._start(stack, program("postfix"), "-c", str(self._folder), "start-fg")
            until(self._answers, self.story, 40.0)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        stop = [program("postfix"), "-c", str(self._folder), "stop"]
        subprocess.run(stop, capture_output=True, timeout=60.0, check=False)
        self._stack.close()

    @property
    def roots(self) -> Sequence[int]:
        return [self._dovecot.pid, self._postfix.pid]

    def delivered(self) -> int:
        log = (self._folder / "log").read_bytes()
        bad = log.count(b"status=deferred") + log.count(b"status=bounced")
        if bad:
            raise BenchmarkFailed(f"{bad} deliveries did not succeed\n{self.story()}")
        return log.count(b"status=sent")

    def story(self) -> str:
        paths = [self._folder / name for name in ("log", "dovecot.log", "errors")]
        return "\n".join(f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-3000:]}" for path in paths if path.exists())

    def _start(self, stack: ExitStack, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / "errors").open("ab") as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        stack.callback(process.wait, 30.0)
        stack.callback(process.terminate)
        return process

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False
