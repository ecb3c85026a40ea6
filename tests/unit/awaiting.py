"""The results of Deferreds that have fired, for tests without a reactor."""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def value_of(waiting: Deferred[T]) -> T:
    """What `waiting` has come to; an exception is raised."""
    results: list[T] = []
    failures: list[Failure] = []
    waiting.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    assert results, "it still waits"
    return results[0]


def failure_of(waiting: Deferred[Any], kind: type[E]) -> E:
    """The exception `waiting` has come to, of `kind`."""
    try:
        value = value_of(waiting)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} but {value!r}")


def assert_pending(waiting: Deferred[Any]) -> None:
    assert not waiting.called, "it has fired"
