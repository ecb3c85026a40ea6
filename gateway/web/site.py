"""The operators' HTTP: /metrics, /healthz (alive), /readyz (the login table, the store and the listeners work)."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from gateway import maillog
from gateway.errors import Unavailable
from gateway.web.channel import BoundedSite

Check = Callable[[], Awaitable[object]]

REFRESH_WITHIN = 3.0  # seconds


def operators_site(figures: Collector, refresh: Check, ready: Mapping[str, Check], clock: Any = None) -> Site:
    """`refresh` brings the `figures` up to date before they are read; `ready` has a check for each thing that must work.

    `clock` is an IReactorTime, by default the reactor. A scrape goes on without `refresh` after REFRESH_WITHIN:
    Prometheus waits for ten seconds by default.
    A check raises Unavailable; what it says goes to the log, the page has only which one failed.
    """
    root: Any = notFound()
    root.putChild(b"metrics", _Page(lambda: _metrics(figures, refresh, site.reactor)))
    root.putChild(b"healthz", _Page(_alive))
    root.putChild(b"readyz", _Page(lambda: _readiness(ready)))
    site = BoundedSite(root, clock)
    return site


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    content_type: str
    body: bytes


class _Page(Resource):
    """One page without children, made by a coroutine."""

    def __init__(self, make: Callable[[], Awaitable[_Answer]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make = make

    def getChild(self, path: bytes, request: Request) -> Any:
        return notFound()

    def render_GET(self, request: Request) -> int:
        ensureDeferred(self._respond(request))
        return NOT_DONE_YET

    async def _respond(self, request: Request) -> None:
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        try:
            answer = await self._make()
        except Exception as error:
            maillog.bug("answering HTTP", error)
            answer = _Answer(500, "text/plain", b"internal error\n")
        if not gone:
            request.setResponseCode(answer.code)
            request.setHeader(b"content-type", answer.content_type.encode("ascii"))
            request.write(answer.body)
            request.finish()


async def _metrics(figures: Collector, refresh: Check, clock: Any) -> _Answer:
    try:
        await _as_coroutine(refresh).addTimeout(REFRESH_WITHIN, clock)
    except (Unavailable, TimeoutError) as away:  # the other metrics say so; a scrape must not fail with the store
        maillog.store_unavailable("counting the queue", str(away) or "no answer in time")
    return _Answer(200, CONTENT_TYPE_LATEST, generate_latest(figures))


def _as_coroutine(check: Check) -> Deferred[Any]:
    async def run() -> object:
        return await check()

    return ensureDeferred(run())


async def _alive() -> _Answer:
    return _Answer(200, "text/plain", b"alive\n")


async def _readiness(ready: Mapping[str, Check]) -> _Answer:
    result = {name: await _passes(name, check) for name, check in ready.items()}
    code = 200 if all(result.values()) else 503
    body = {name: "ok" if passed else "failed" for name, passed in result.items()}
    return _Answer(code, "application/json", json.dumps(body).encode("ascii") + b"\n")


async def _passes(name: str, check: Check) -> bool:
    try:
        await check()
    except Unavailable as away:
        maillog.not_ready(name, str(away))
        return False
    except Exception as error:
        maillog.bug(f"checking {name}", error)
        return False
    return True
