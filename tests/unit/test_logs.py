"""Log lines: one an event whatever it holds, readable as JSON, by level, with Twisted's own among them."""

import json
import re
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway import logs, maillog

NASTY = st.text(st.characters(codec="utf-8") | st.sampled_from('\n\r\t\0\x1b\x85\u2028\u2029\u202e"=\\ {}%'), max_size=40)
BREAKS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    maillog.log = structlog.get_logger("gateway")


class Written:
    """The log as it is written."""

    def __init__(self, form: Literal["console", "json"] = "console", level: str = "info", worker: int = 0) -> None:
        self.text = ""
        logs.configure(form, level, self._write, worker)

    def _write(self, text: str) -> None:
        self.text += text

    def lines(self) -> list[str]:
        assert self.text.endswith("\n")
        return self.text.split("\n")[:-1]


def test_a_line_for_people() -> None:
    it = Written()
    maillog.hop_down("smtp://x:25", "connection refused", 2.0)
    (line,) = it.lines()
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT[\d:.]+Z warning hop down  hop=smtp://x:25 reason="connection refused" retry_in=2\.0', line
    )


def test_a_line_of_a_worker() -> None:
    it = Written("json", worker=2)
    maillog.hop_up("smtp://x:25")
    assert json.loads(it.lines()[0])["worker"] == 2


def test_an_empty_fact_is_left_out() -> None:
    it = Written()
    maillog.outcome("delivered", queue_id="Q", text="")
    assert it.lines()[0].endswith("info    delivered  queue_id=Q")


def test_a_line_for_machines() -> None:
    it = Written("json")
    maillog.certificate_refused(["tls.key: a", "tls.key: b"])
    (line,) = it.lines()
    event = json.loads(line)
    assert event.pop("timestamp")
    assert event == {
        "level": "error",
        "event": "new certificate refused, the old one stays in use",
        "problems": ["tls.key: a", "tls.key: b"],
    }


@given(NASTY)
@pytest.mark.parametrize("form", ["console", "json"])
def test_one_line_whatever_is_in_it(form: Literal["console", "json"], text: str) -> None:
    it = Written(form)
    maillog.log.info(text, fact=text, other=[text])
    maillog.hop_down("hop", text, 1.0)
    assert len(it.lines()) == 2
    assert not BREAKS.search(it.text)
    if form == "json":
        event = json.loads(it.lines()[0])
        assert (event["event"], event["fact"], event["other"]) == (text, text, [text])


@given(NASTY)
def test_a_fact_cannot_look_like_two(text: str) -> None:
    it = Written()
    maillog.log.info("event", first=text, second="end")
    (line,) = it.lines()
    facts = line.partition("  ")[2].partition("event")[2].strip() if "  " in line else ""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', facts)
    assert [name for name, _ in found] == (["first", "second"] if text else ["second"])
    if text:
        value = found[0][1]
        assert (json.loads(value) if value.startswith('"') else value) == text


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["swept", "hop down", "unexpected error"]),
        ("info", ["swept", "hop down", "unexpected error"]),
        ("warning", ["hop down", "unexpected error"]),
        ("error", ["unexpected error"]),
    ],
)
def test_levels(level: str, events: list[str]) -> None:
    it = Written("json", level)
    maillog.swept(1, 1)
    maillog.hop_down("hop", "", 1.0)
    maillog.bug("testing", ValueError("x"))
    assert [json.loads(line)["event"] for line in it.lines()] == events


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_is_one_line_with_where_it_came_from(form: Literal["console", "json"]) -> None:
    it = Written(form)
    try:
        raise ValueError("two\r\nlines\x1b[31m")
    except ValueError as error:
        maillog.bug("testing", error)
    (line,) = it.lines()
    assert "test_logs.py" in line
    assert "ValueError: two" in line
    assert not BREAKS.search(line)


class TestTwisted:
    """Twisted's own events, handed to the observer as Twisted does."""

    def setup_method(self) -> None:
        self.written = Written("json")
        self.log = Logger("test", observer=logs.TwistedEvents())

    def said(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written.lines()] if self.written.text else []

    def test_what_is_worth_a_warning_is_passed_on(self) -> None:
        self.log.debug("debugging")
        self.log.info("Starting factory")
        self.log.warn("too many {things}\nsaid", things="open\nfiles")
        (event,) = self.said()
        assert (event["level"], event["event"]) == ("warning", "twisted")
        assert event["text"] == "too many open\\nfiles\\nsaid"

    def test_a_failure_nobody_handled_is_an_error_with_its_traceback(self) -> None:
        failures: list[Failure] = []
        waiting: Deferred[None] = fail(ValueError("lost"))
        waiting.addErrback(failures.append)
        self.log.failure("Unhandled error in Deferred", failures[0])
        (event,) = self.said()
        assert (event["level"], event["event"], event["doing"]) == ("error", "unexpected error", "in Twisted")
        assert "ValueError: lost" in str(event["exception"])

    def test_an_event_that_cannot_be_formatted_is_still_one_line(self) -> None:
        self.log.error("{missing} {")
        assert len(self.said()) == 1
