"""Many writers at once, each with a connection of its own: no limit is overstepped, and what comes twice is queued once."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select

from gateway.queue.allowance import OnLimit, Terms
from gateway.queue.model import Added, Envelope, Field, Inline, NewMessage, NewRecipient
from gateway.store import suspensions
from gateway.store.engine import opened, parse_url
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import metadata, recipient, resend
from gateway.store.usage import standing_now, usage_of
from tests.pump import Pump, deferred
from tests.servers.databases import Postgresql
from tests.stores import running, store_url

PROCESSES = 4  # a Database each, with a writer's connection of its own
SESSIONS = 10  # of each, at once


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield store_url(tmp_path)
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    url = server.database().url
    engine = create_engine(parse_url(url, "store.url"))
    metadata.create_all(engine)
    engine.dispose()
    yield url


def message(process: int, session: int, turn: int, terms: Terms, key: str = "") -> NewMessage:
    to = (NewRecipient("you@example.net", Field.TO),)
    id_ = f"{process:04}{session:04}{turn:08}"
    return NewMessage(id_, "7", Envelope("me@x.example"), b"A: b\r\n\r\n", Inline(b"hello"), to, terms, key)


def all_at_once(url: str, new: Callable[[int, int, int], NewMessage], turns: int) -> Counter[type[Added]]:
    """Every session of every process adds one message after the other; what each came to."""

    def process(number: int) -> list[type[Added]]:
        pump = Pump()
        with running(url, pump) as database:
            outbox = SqlOutbox(database, f"/{number}")
            answers: list[type[Added]] = []
            for turn in range(turns):
                waiting = [deferred(outbox.add(new(number, n, turn), lease=False)) for n in range(SESSIONS)]
                answers += [type(pump.result(each)) for each in waiting]
            return answers

    with ThreadPoolExecutor(PROCESSES) as pool:
        return Counter(answer for answers in pool.map(process, range(PROCESSES)) for answer in answers)


def test_the_limit_is_exact(url: str) -> None:
    terms = Terms(100, OnLimit.SUSPEND)
    came_to = all_at_once(url, lambda process, session, turn: message(process, session, turn, terms), turns=5)
    assert {kind.__name__: count for kind, count in came_to.items()} == {"Queued": 100, "Denied": 100}
    with opened(url, write=False) as connection:
        assert connection.execute(select(func.count()).select_from(recipient)).scalar_one() == 100
        [day] = usage_of(connection, "7", 2)
        assert (day.messages, day.recipients) == (100, 100)
        assert standing_now(connection, "7").suspended
        assert [(each.daily_limit, each.used) for each in suspensions.active(connection)] == [(100, 100)]


def test_each_submission_is_queued_and_charged_once(url: str) -> None:
    terms = Terms(1000, OnLimit.DEFER)
    came_to = all_at_once(url, lambda process, session, turn: message(process, session, turn, terms, f"k{turn}"), turns=3)
    assert {kind.__name__: count for kind, count in came_to.items()} == {"Queued": 3, "Duplicate": 3 * PROCESSES * SESSIONS - 3}
    with opened(url, write=False) as connection:
        assert usage_of(connection, "7", 2)[0].recipients == 3
        queued = connection.execute(select(recipient.c.message_id).order_by(recipient.c.message_id)).scalars().all()
        assert sorted(connection.execute(select(resend.c.message_id)).scalars()) == queued


def test_of_many_that_replace_a_message_one_wins(url: str) -> None:
    """The first one is out of date for all of them."""
    terms = Terms(1000, OnLimit.DEFER)
    with opened(url, write=True) as connection:
        connection.execute(resend.insert().values(key="k", message_id="gone", at=1.0))
    came_to = all_at_once(url, lambda process, session, turn: message(process, session, turn, terms, "k"), turns=1)
    assert {kind.__name__: count for kind, count in came_to.items()} == {"Queued": 1, "Duplicate": PROCESSES * SESSIONS - 1}
    with opened(url, write=False) as connection:
        assert usage_of(connection, "7", 2)[0].messages == 1
