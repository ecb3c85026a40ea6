"""How fast people sign in: known passwords, new ones, and known ones while others guess. Run by `make bench-signin`.

Prints a table. What it measures, and how: README.md beside this file.
"""

import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import trustme

from benchmarks import clients
from benchmarks.clients import Server, Told, sign_in
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.installation import PASSWORD, Installation, run_tool, toml
from tests.acceptance.login_table import hashed

COST = 12
PEOPLE = 40
KNOWN = 2000  # sign-ins
FEW, MANY = 8, 50  # clients at once
GUESSERS = 30
FLOOD = 20.0  # seconds
WARM_UP = 3.0  # seconds of guessing before anything is measured
PAUSE = 0.02
NO_LOCKOUT = {"failures": 0, "account_failures": 0, "network_accounts": 0}
LOCKOUT = {"failures": 5, "account_failures": 50, "network_accounts": 10}
LIMITS = {"connections_per_network": 1000}
TICKS = os.sysconf("SC_CLK_TCK")


class Bench:
    """A gateway whose people all have a hash of cost 12, and processes with clients."""

    def __init__(self, gateway: GatewayProcess, pool: ProcessPoolExecutor) -> None:
        self.gateway = gateway
        self.pool = pool
        self.server = Server(gateway.tls, str(gateway.at.authorities))
        self.logins = [f"p{number}@example.com" for number in range(PEOPLE)]
        stored = hashed(PASSWORD, COST)
        with closing(sqlite3.connect(gateway.at.accounts.path)) as connection, connection:
            rows = [(login, stored) for login in self.logins]
            connection.executemany("INSERT INTO users (email, password_hash, is_active) VALUES (?, ?, 1)", rows)

    def cpu(self) -> float:
        """Seconds of processor time that the gateway has used."""
        fields = Path(f"/proc/{self.gateway.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def sessions(self, commands: Sequence[str], at_once: int) -> tuple[Told, float]:
        """What came of a session for each command, and the gateway's processor time for one, in ms."""
        before = self.cpu()
        told = self.pool.submit(clients.sessions, self.server, commands, at_once).result()
        return told, (self.cpu() - before) / len(commands) * 1000

    def steady(self) -> Told:
        return self.pool.submit(clients.steady, self.server, self.logins, FLOOD, PAUSE).result()

    def guess(self, sources: Sequence[str], seconds: float) -> Future[Told]:
        return self.pool.submit(clients.guessing, self.server, self.logins, sources, seconds)

    def flooded(self, sources: Sequence[str]) -> tuple[Told, Told]:
        """Known sign-ins, and what the guessers were told meanwhile."""
        self.guess(sources, WARM_UP).result()
        flood = self.guess(sources, FLOOD)
        return self.steady(), flood.result()

    def lockout(self, rules: dict[str, int]) -> None:
        self.gateway.at.write_settings({"lockout": rules})
        self.gateway.signal(signal.SIGHUP)
        self.gateway.until_logged("configuration reloaded")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def waits(what: str, told: Told) -> None:
    figures = "  ".join(f"{told.wait(part) * 1000:8.1f}" for part in (0.5, 0.99, 1.0))
    say(f"{what:<58}{figures}   {told.rate:7.1f}   {dict(told.replies)}")


def known(bench: Bench, at_once: int) -> None:
    """Known sign-ins, and the same sessions without one: what is between them is ours."""
    commands = [sign_in(bench.logins[number % PEOPLE]) for number in range(KNOWN)]
    bench.sessions(commands[:200], at_once)
    _, bare = bench.sessions(["NOOP"] * KNOWN, at_once)
    told, whole = bench.sessions(commands, at_once)
    waits(f"known passwords, {at_once} clients", told)
    say(f"    CPU of ours a session: {whole:.2f} ms; with NOOP in place of AUTH {bare:.2f} ms; a sign-in {whole - bare:.2f} ms")


def run(bench: Bench) -> None:
    say(f"{os.cpu_count()} cores, bcrypt cost {COST}, TLS from the start, a session for each sign-in\n")
    say(f"{'wait for the reply to AUTH, in ms':<58}{'p50':>8}  {'p99':>8}  {'max':>8}   {'a second':>8}   replies")
    new, _ = bench.sessions([sign_in(login) for login in bench.logins], FEW)
    waits(f"new passwords, {FEW} clients", new)
    known(bench, FEW)
    known(bench, MANY)
    waits("known passwords, one client, nobody else", bench.steady())
    told, flood = bench.flooded([f"127.1.{number}.1" for number in range(GUESSERS)])
    waits(f"  while {GUESSERS} connections guess, lockout off", told)
    waits("    the guessers", flood)
    bench.lockout(LOCKOUT)
    told, flood = bench.flooded(["127.2.0.1"] * GUESSERS)
    waits(f"  while {GUESSERS} of one network guess, lockout on", told)
    waits("    the guessers", flood)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-signin-") as folder:
        ca, template = trustme.CA(), Path(folder, "template")
        (template / "var").mkdir(parents=True)
        (template / "gateway.toml").write_text("".join(toml({"listen": [{"port": 0}]})), "utf-8")
        run_tool(template, "store", "migrate").check_returncode()
        settings = {"lockout": {**NO_LOCKOUT, "delay": "300ms"}, "limits": LIMITS}
        at = Installation(Path(folder, "gateway"), ca, template / "var" / "gateway.db", settings)
        gateway = GatewayProcess(at).start()
        try:
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                run(Bench(gateway, pool))
        finally:
            gateway.clean_up()


if __name__ == "__main__":
    main()
