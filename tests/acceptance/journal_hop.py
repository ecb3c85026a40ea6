"""A next hop as a program of its own, that can be killed: SMTP that keeps a journal of what arrived, before it says so.

    python journal_hop.py PORT JOURNAL SEED

A line of the journal is [time, event, name, recipient, whole, queue id, hello, since], as JSON: `time` and `since`, when its
connection was greeted, are CLOCK_MONOTONIC's in nanoseconds, `event` is "got" before the final reply and "said" once that reply
is with the kernel. It takes its time for the reply, so that whoever kills it, or the gateway, often does so between a message
and its reply.
"""

import asyncio
import json
import os
import random
import re
import sys
import time
from email.parser import BytesHeaderParser
from typing import NamedTuple

MOMENT = 0.01  # seconds, at most
MOST = 8 * 1024 * 1024  # octets of a message
_NAME = re.compile(r"<([^@>]+)@")
_ID = re.compile(r"\sid\s+([^\s;]+)")
_LINE = "{} is the name in each of these lines\r\n"  # as smtpload.c writes it


class Entry(NamedTuple):
    """A line of the journal. `whole`: header and body are those of the message with this name."""

    at: int
    event: str
    name: str
    recipient: str
    whole: bool
    queue_id: str
    hello: str
    since: int


def read(content: bytes) -> tuple[str, bool, str]:
    """Name of a message without its final dot, whether it is whole, its queue id."""
    header, _, body = content.partition(b"\r\n\r\n")
    fields = BytesHeaderParser().parsebytes(header)
    name, queue_id = _NAME.search(fields.get("Message-ID", "")), _ID.search(fields.get("Received", ""))
    lines = int(fields.get("X-Lines", "-1"))
    text = name[1] if name else ""
    return text, body == _LINE.format(text).encode() * lines, queue_id[1] if queue_id else ""


class Hop:
    def __init__(self, journal: int, chance: random.Random) -> None:
        self._journal = journal
        self._chance = chance

    def write_down(self, entries: list[Entry]) -> None:
        os.write(self._journal, "".join(json.dumps(entry) + "\n" for entry in entries).encode())

    async def moment(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, MOMENT))

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello, recipients, since = "", list[str](), time.monotonic_ns()
        writer.write(b"220 hop.example ESMTP\r\n")
        while line := await reader.readline():
            verb, _, rest = line.decode().rstrip("\r\n").partition(" ")
            if verb == "EHLO":
                hello = rest
                writer.write(b"250-hop.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n")
            elif verb == "DATA":
                writer.write(b"354 go\r\n")
                await writer.drain()
                await self._message(reader, writer, recipients, hello, since)
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                recipients = [] if verb == "MAIL" else recipients
                recipients += [rest.partition("<")[2].partition(">")[0]] if verb == "RCPT" else []
                writer.write(b"250 ok\r\n")

    async def _message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipients: list[str], hello: str, since: int
    ) -> None:
        content = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
        name, whole, queue_id = read(content)
        got = time.monotonic_ns()
        entries = [Entry(got, "got", name, each, whole, queue_id, hello, since) for each in recipients]
        self.write_down(entries)
        await self.moment()
        writer.write(b"250 ok\r\n")
        await writer.drain()
        self.write_down([entry._replace(at=time.monotonic_ns(), event="said") for entry in entries])


async def main(port: int, journal: str, seed: int) -> None:
    hop = Hop(os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), random.Random(seed))
    server = await asyncio.start_server(hop.session, "127.0.0.1", port, limit=MOST, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
