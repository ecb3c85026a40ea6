"""MaildirHop: local delivery, one Maildir folder a recipient (https://cr.yp.to/proto/maildir.html).

A message is written to tmp/, synced, renamed into new/, and the folder synced, before it counts as delivered.
Its file name comes from the queue's ids alone, so that a delivery repeated after a crash finds the first one.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from gateway.address import ascii_lower
from gateway.metrics import Metrics
from gateway.queue.lease import Lease
from gateway.queue.model import Outcome, QueuedMessage, Recipient, Result
from gateway.queue.ports import Bodies

MAX_FOLDER = 200  # characters; file systems take 255 octets in a name

Run = Callable[..., Deferred[Any]]  # calls a function with arguments in a thread


class MaildirHop:
    """Folders under `path`, made as they are needed. `run` calls a function in a thread; no call waits for the disk here."""

    def __init__(
        self, path: Path, run: Run, hostname: str, *, label: str, bodies: Bodies, clock: IReactorTime, metrics: Metrics
    ) -> None:
        self.label = label
        self._path = path
        self._run = run
        self._hostname = hostname
        self._bodies = bodies
        self._clock = clock
        self._seconds = metrics.delivery_attempt_seconds.labels(hop=label)

    async def deliver(self, message: QueuedMessage, recipients: Sequence[Recipient], lease: Lease) -> list[Outcome]:
        """As `Hop.deliver`; a full or broken disk means RETRY, never HopDown: other folders may be elsewhere."""
        await lease.confirm()
        started = self._clock.seconds()
        outcomes = [await self._one(message, recipient) for recipient in recipients]
        self._seconds.observe(max(0.0, self._clock.seconds() - started))
        return outcomes

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _one(self, message: QueuedMessage, recipient: Recipient) -> Outcome:
        # ":" and "/" end the unique part of a Maildir name; neither is in an id or a host name.
        name = f"{message.id}.{recipient.id}.{self._hostname}"
        delivery = _Delivery(self._path / folder_name(recipient.address), name)
        try:
            await self._write(delivery, message, recipient)
        except OSError as error:
            enhanced = "4.3.1" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "4.3.0"
            text = f"Cannot write to the Maildir: {error.strerror or type(error).__name__}"
            return Outcome(recipient, Result.RETRY, 0, enhanced, text, self.label, self._hostname)
        return Outcome(
            recipient, Result.DELIVERED, 250, "2.0.0", "Delivered to a Maildir", self.label, self._hostname, final=True
        )

    async def _write(self, delivery: "_Delivery", message: QueuedMessage, recipient: Recipient) -> None:
        body = await self._bodies.open(message.body)
        try:
            start = _trace(message.envelope.sender, recipient.address) + message.header + await body.read()
            if not await self._run(delivery.begin, start):
                return
            try:
                while block := await body.read():
                    await self._run(delivery.write, block)
                await self._run(delivery.finish)
            except BaseException:
                await self._run(delivery.drop)
                raise
        finally:
            body.close()


class _Delivery:
    """One file on its way into a folder. Every method may wait for the disk; all but `drop` raise OSError."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._tmp = folder / "tmp" / name
        self._held = b""  # a CR at the end of a block, whose LF may come with the next

    def begin(self, start: bytes) -> bool:
        """Open the file and write its start; False when an earlier delivery has put it there already."""
        self._make_folders()
        if self._delivered():
            _sync(self._folder / "new")  # the crash may have come before the first time
            return False
        self._file: BinaryIO = open(self._tmp, "wb", opener=_private)  # noqa: SIM115 - it stays open between calls
        try:
            self.write(start)
        except OSError:
            self.drop()
            raise
        return True

    def write(self, block: bytes) -> None:
        """Append, with the line ends that Unix programs read: CRLF becomes LF."""
        block = self._held + block
        self._held = b"\r" if block.endswith(b"\r") else b""
        self._file.write(block.removesuffix(b"\r").replace(b"\r\n", b"\n"))

    def finish(self) -> None:
        """Make the file durable and show it to readers."""
        self._file.write(self._held)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._tmp, self._folder / "new" / self._name)
        _sync(self._folder / "new")

    def drop(self) -> None:
        """Leave nothing behind in tmp/."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._tmp.unlink(missing_ok=True)

    def _make_folders(self) -> None:
        if (self._folder / "tmp").is_dir():  # made last
            return
        root = self._folder.parent
        for folder in (root, self._folder, *(self._folder / name for name in ("new", "cur", "tmp"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(self._folder)
        _sync(root)

    def _delivered(self) -> bool:
        """In new/ under its name, in cur/ with the flags a reader gave it, "name:2,S"."""
        if (self._folder / "new" / self._name).exists():
            return True
        with os.scandir(self._folder / "cur") as entries:
            return any(entry.name.partition(":")[0] == self._name for entry in entries)


def folder_name(address: str) -> str:
    """The folder of a recipient: in lower case, and no text can lead out of the Maildir's path or hide.

    A name cut for its length ends in "~" and a hash; "~" is in no other one.
    """
    kept = re.sub(r"[^a-z0-9@._+-]", lambda m: "".join(f"%{octet:02X}" for octet in m[0].encode("utf-8")), ascii_lower(address))
    if kept.startswith("."):
        kept = f"%2E{kept[1:]}"
    if len(kept) <= MAX_FOLDER:
        return kept
    return f"{kept[: MAX_FOLDER - 17]}~{hashlib.sha256(kept.encode('ascii')).hexdigest()[:16]}"


def _trace(sender: str, recipient: str) -> bytes:
    """RFC 5321 section 4.4: the final delivery writes down the envelope, of this recipient only."""
    return f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
