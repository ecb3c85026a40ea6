"""Many writers at once, each with a connection of its own: no limit is overstepped, and what comes twice is queued once."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import event, func, select

from gateway.queue.allowance import OnLimit, Terms
from gateway.queue.model import Added, Duplicate, Envelope, Field, Inline, NewMessage, NewRecipient, Queued
from gateway.store import suspensions
from gateway.store.admission import admit
from gateway.store.clock import now
from gateway.store.engine import opened
from gateway.store.outbox import SqlOutbox
from gateway.store.schema import recipient, resend
from gateway.store.usage import standing_now, usage_of
from tests.pump import Pump, deferred
from tests.servers.databases import Postgresql
from tests.stores import KINDS, postgresql_url, running, url_of

PROCESSES = 4  # a Database each, with a writer's connection of its own
SESSIONS = 10  # of each, at once


@pytest.fixture
def shared_url(postgresql: Postgresql) -> str:
    """A store that has writers beside each other in the middle of their transactions."""
    return postgresql_url(postgresql)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path, request)


def message(process: int, session: int, turn: int, terms: Terms, key: str = "") -> NewMessage:
    to = (NewRecipient("you@example.net", Field.TO),)
    id_ = f"{process:04}{session:04}{turn:08}"
    return NewMessage(id_, "7", Envelope("me@x.example"), b"A: b\r\n\r\n", Inline(b"hello"), to, terms, key)


def all_at_once(url: str, new: Callable[[int, int, int], NewMessage], turns: int) -> Counter[type[Added]]:
    """Every session of every process adds one message after the other; what each came to."""
    ready = Barrier(PROCESSES)

    def process(number: int) -> list[type[Added]]:
        pump = Pump()
        with running(url, pump) as database:
            outbox = SqlOutbox(database, f"/{number}")
            pump.result(database.write(lambda connection: None))  # connected
            ready.wait(60)
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
    """The first one is there no more, so each of them may take its place."""
    terms = Terms(1000, OnLimit.DEFER)
    with opened(url, write=True) as connection:
        connection.execute(resend.insert().values(account_id="7", key="k", message_id="gone", at=now()))
    came_to = all_at_once(url, lambda process, session, turn: message(process, session, turn, terms, "k"), turns=1)
    assert {kind.__name__: count for kind, count in came_to.items()} == {"Queued": 1, "Duplicate": PROCESSES * SESSIONS - 1}
    with opened(url, write=False) as connection:
        assert usage_of(connection, "7", 2)[0].messages == 1


def test_one_that_is_overtaken_while_it_looks_is_a_duplicate(shared_url: str) -> None:
    terms = Terms(1000, OnLimit.DEFER)
    overtaking = message(1, 0, 0, terms, "k")
    done: list[Added] = []

    def overtake(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE resend") and not done:
            with opened(shared_url, write=True) as other:
                done.extend(admit(other, [(overtaking, None)]))

    with opened(shared_url, write=True) as connection:
        connection.execute(resend.insert().values(account_id="7", key="k", message_id="gone", at=now()))
    with opened(shared_url, write=True) as connection:
        event.listen(connection, "before_cursor_execute", overtake)
        assert admit(connection, [(message(2, 0, 0, terms, "k"), None)]) == [Duplicate(overtaking.id)]
    assert [type(each) for each in done] == [Queued]
    with opened(shared_url, write=False) as connection:
        assert usage_of(connection, "7", 2)[0].messages == 1
