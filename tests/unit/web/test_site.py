"""The operators' pages over real HTTP on loopback."""

import json
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody

from gateway.errors import Unavailable
from gateway.metrics import Metrics
from gateway.web.site import operators_site
from tests.unit.sockets import all_closed

reactor: Any = global_reactor
SECRET = "postgresql://app:password@db"


class Checks:
    """What the site asks. `errors` by name make that one fail."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}

    async def ask(self, name: str) -> None:
        if name in self.errors:
            raise self.errors[name]


class SiteTest(TestCase):
    def setUp(self) -> None:
        self.addCleanup(all_closed)
        self.checks = checks = Checks()
        self.metrics = Metrics(CollectorRegistry())
        ready = {"login_table": lambda: checks.ask("login_table"), "store": lambda: checks.ask("store")}
        site = operators_site(self.metrics.registry, lambda: checks.ask("counts"), ready)
        listening = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.port = listening.getHost().port
        self.addCleanup(listening.stopListening)

    @inlineCallbacks
    def get(self, path: str, method: bytes = b"GET") -> Any:
        """(code, content type, body)"""
        url = f"http://127.0.0.1:{self.port}{path}".encode()
        response = yield Agent(reactor).request(method, url)
        body: Deferred[bytes] = readBody(response)
        text = yield body
        return response.code, response.headers.getRawHeaders("content-type", [""])[0], text

    @inlineCallbacks
    def test_metrics(self) -> Any:
        self.metrics.deliveries_total.labels("delivered").inc(3)
        code, content_type, body = yield self.get("/metrics")
        assert code == 200
        assert content_type.startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        assert families["smtp_gateway_deliveries"].samples[0].value == 3
        assert b"_created" not in body

    @inlineCallbacks
    def test_a_store_that_is_away_leaves_the_other_metrics(self) -> Any:
        self.checks.errors["counts"] = Unavailable(SECRET)
        with capture_logs() as logs:
            code, _, body = yield self.get("/metrics")
        assert code == 200
        assert b"smtp_gateway_build_info" in body
        assert SECRET.encode() not in body
        assert [entry["event"] for entry in logs] == ["the store cannot be used"]

    @inlineCallbacks
    def test_alive(self) -> Any:
        self.checks.errors["store"] = Unavailable("away")
        assert (yield self.get("/healthz")) == (200, "text/plain", b"alive\n")

    @inlineCallbacks
    def test_ready(self) -> Any:
        code, content_type, body = yield self.get("/readyz")
        assert (code, content_type) == (200, "application/json")
        assert json.loads(body) == {"login_table": "ok", "store": "ok"}

    @inlineCallbacks
    def test_not_ready_says_which_and_not_why(self) -> Any:
        for error, event in ((Unavailable(SECRET), "not ready"), (RuntimeError(SECRET), "unexpected error")):
            self.checks.errors["store"] = error
            with capture_logs() as logs:
                code, _, body = yield self.get("/readyz")
            assert code == 503
            assert json.loads(body) == {"login_table": "ok", "store": "failed"}
            assert [entry["event"] for entry in logs] == [event]

    @inlineCallbacks
    def test_a_bug_says_nothing_of_itself(self) -> Any:
        self.checks.errors["counts"] = RuntimeError(SECRET)
        with capture_logs() as logs:
            assert (yield self.get("/metrics")) == (500, "text/plain", b"internal error\n")
        assert [entry["event"] for entry in logs] == ["unexpected error"]

    @inlineCallbacks
    def test_head(self) -> Any:
        for path in ("/metrics", "/healthz", "/readyz"):
            code, _, body = yield self.get(path, b"HEAD")
            assert (code, body) == (200, b""), path

    @inlineCallbacks
    def test_there_is_nothing_else(self) -> Any:
        for path in ("/", "/metrics/", "/metrics/x", "/healthz/../x", "/admin", "/metrics.php"):
            code, _, _ = yield self.get(path)
            assert code == 404, path
