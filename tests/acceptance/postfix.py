"""A real Postfix as smarthost: an instance of its own in a temporary folder, on a loopback port, with Maildirs behind it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import trustme

from tests.acceptance.free_port import free_port
from tests.acceptance.installation import chain, require_program
from tests.acceptance.waiting import until

DOMAIN = "example.net"

_OUTCOME = re.compile(r": (\w+): to=<([^>]*)>, .*\bstatus=")

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

# message_drop_headers is empty: Postfix itself would remove a Bcc that we have left in
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_drop_headers =
message_size_limit = 40000000
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {folder}/tls.pem
smtpd_tls_key_file = {folder}/tls.key
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
"""


class Postfix:
    """`users`: the local parts of `DOMAIN` that exist; others are refused with 550. TLS is required of who connects."""

    def __init__(self, ca: trustme.CA, users: tuple[str, ...]) -> None:
        self.program = require_program("postfix")
        if os.geteuid() != 0:
            pytest.skip("postfix starts as root only")
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-"))  # not below pytest's own, which only we may enter
        self.port = free_port()
        self._lay_out(ca, users)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()
        shutil.rmtree(self.folder)

    def up(self) -> None:
        command = [self.program, "-c", str(self.folder), "start-fg"]
        with (self.folder / "errors").open("ab") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        until(self._answers, self.story)

    def down(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        subprocess.run([self.program, "-c", str(self.folder), "stop"], capture_output=True, timeout=30, check=False)
        try:
            process.wait(15.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def mail(self, user: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "mail" / user / "new").glob("*"))]

    def transactions(self) -> dict[str, list[str]]:
        """The recipients of each message by its own queue id, as its log tells what became of them; one id a transaction."""
        found: dict[str, list[str]] = {}
        for queue_id, recipient in _OUTCOME.findall((self.folder / "log").read_text("utf-8")):
            found.setdefault(queue_id, []).append(recipient)
        return found

    def story(self) -> str:
        """For the message of a failed test."""
        return "\n".join(
            path.read_text("utf-8")[-4000:] for path in (self.folder / "log", self.folder / "errors") if path.exists()
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False

    def _lay_out(self, ca: trustme.CA, users: tuple[str, ...]) -> None:
        self.folder.chmod(0o755)
        for name, owner in (("queue", "root"), ("data", "postfix"), ("mail", "nobody")):
            (self.folder / name).mkdir(mode=0o755)
            shutil.chown(self.folder / name, owner)
        leaf = ca.issue_cert("localhost")
        (self.folder / "tls.pem").write_bytes(chain(leaf))
        leaf.private_key_pem.write_to_path(self.folder / "tls.key")
        (self.folder / "mailboxes").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in users), "utf-8")
        status = (self.folder / "mail").stat()
        (self.folder / "master.cf").write_text(_MASTER.format(port=self.port), "ascii")
        main = _MAIN.format(folder=self.folder, domain=DOMAIN, uid=status.st_uid, gid=65534)
        (self.folder / "main.cf").write_text(main, "ascii")
