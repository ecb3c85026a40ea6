"""The gateway as a process: started as an operator starts it, watched through its log, ended by its process id."""

import http.client
import json
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.installation import PROGRAMS, Installation, elsewhere, environment
from tests.acceptance.waiting import PATIENCE, until

STOP_PATIENCE = 60.0

Line = Mapping[str, Any]


class GatewayProcess:
    """`twistd smtp-gateway` over an installation. It may be started again after its end; ports may then differ."""

    def __init__(self, installation: Installation) -> None:
        self.at = installation
        self.starttls = self.tls = self.http = 0  # ports
        self.log_file = installation.folder / "gateway.log"
        self.error_file = installation.folder / "gateway.err"
        self.under: tuple[str, ...] = ()  # what runs twistd, with its arguments: prlimit, strace
        self._process: subprocess.Popen[bytes] | None = None
        self._life = 0  # where in the log file the present life begins

    # Life

    def spawn(self, *options: str, twistd: Sequence[str] = ()) -> None:
        """Start it, and wait for nothing."""
        server = ["smtp-gateway", "--config", str(self.at.config), *options]
        command = [*self.under, str(PROGRAMS / "twistd"), "-n", "--pidfile=", *twistd, *server]
        self._life = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as out, self.error_file.open("ab") as err:
            self._process = subprocess.Popen(
                command, cwd=elsewhere(self.at.folder), env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def start(self, *options: str) -> "GatewayProcess":
        """Start it and wait until it serves."""
        self.spawn(*options)
        line = until(self._started, self.story)
        ports = [int(place.rpartition(":")[2]) for place in line["listeners"].split()]
        self.http = ports.pop()
        for listen, port in zip(self.at.settings["listen"], ports, strict=True):
            setattr(self, "tls" if listen["security"] == "tls" else "starttls", port)
        return self

    def _started(self) -> Line | None:
        found = self.logged("started")
        if not found and self.process.poll() is not None:
            raise AssertionError(f"ended with status {self.process.returncode}\n{self.story()}")
        return found[0] if found else None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = STOP_PATIENCE) -> int:
        """Its exit status."""
        return self.process.wait(patience)

    def stop(self) -> int:
        """As systemd does it; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As a power cut does it, as far as a process can see."""
        self.signal(signal.SIGKILL)
        self.wait()

    def clean_up(self) -> None:
        """Leave no process behind."""
        if self.alive:
            self.signal(signal.SIGTERM)
            try:
                self.wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()

    # What it says

    def raw_log(self) -> str:
        """Everything it wrote in this life."""
        with self.log_file.open("rb") as file:
            file.seek(self._life)
            return file.read().decode("utf-8")

    def lines(self) -> list[Line]:
        """The complete lines of its log in this life; each must be JSON."""
        complete, _, _ = self.raw_log().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines() if line]

    def logged(self, event: str, **facts: object) -> list[Line]:
        return [line for line in self.lines() if line["event"] == event and all(line.get(k) == v for k, v in facts.items())]

    def until_logged(self, event: str, count: int = 1, patience: float = PATIENCE, **facts: object) -> list[Line]:
        """Wait for `count` such lines, at most `patience` seconds."""

        def enough() -> list[Line] | None:
            found = self.logged(event, **facts)
            return found if len(found) >= count else None

        return until(enough, lambda: f"{count} x {event!r} {facts} in the log\n{self.story()}", patience)

    def errors(self) -> str:
        return self.error_file.read_text("utf-8")

    def story(self) -> str:
        """For the message of a failed test."""
        return f"--- log\n{self.raw_log()[-6000:]}\n--- standard error\n{self.errors()[-3000:]}"

    def get(self, page: str) -> tuple[int, str]:
        """Status and text of one of its pages."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=PATIENCE)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8")
        finally:
            connection.close()

    def figure(self, name: str, **labels: str) -> float:
        """The sum of the samples smtp_gateway_`name` whose labels have these values."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = (sample for family in families for sample in family.samples if sample.name == f"smtp_gateway_{name}")
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @property
    def hashes(self) -> float:
        """How many passwords it has hashed in this life for anybody.

        Its start times one of each kind in the login table by itself; tests that ask have one kind there.
        """
        until(lambda: self.figure("password_hash_seconds_count"), self.story)
        return self.figure("password_hash_seconds_count") - 1

    def memory(self, field: str = "VmRSS") -> int:
        """Octets of memory in use, or with "VmHWM" the most there ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))

    # How it is reached

    def context(self) -> ssl.SSLContext:
        """A client that verifies: the authority that signed the gateway's certificate, and the name."""
        return ssl.create_default_context(cafile=str(self.at.authorities))
