"""Every metric family, with closed sets of label values: never an account, an address or a peer's words.

`Metrics` takes its registry, so that each test has one of its own.
"""

from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.registry import Collector

from gateway import __version__

# No *_created series: as many again, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_DELAYS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 43200.0, 86400.0, 259200.0)
_SIZES = tuple(float(1 << n) for n in range(10, 28, 2))
_ITEMS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)


Family = TypeVar("Family", Counter, Gauge, Histogram)


class _Beside(Collector):
    """Registers a counter whose name without _total is that of a gauge, which the registry takes for one family.

    In the text format they are two; OpenMetrics cannot say it, so /metrics is never served in that.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._counter.collect()


def _kept(family: Family) -> Family:
    """With a `labels` that remembers what it gave, for the library's own takes longer than all the rest of counting."""
    family.labels = cache(family.labels)  # type: ignore[method-assign]
    return family


class Metrics:
    """All families of one process, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._edge()
        self._accounts()
        self._queue()
        info = self._gauge("build_info", "Version of the gateway that runs, as a label; always 1.", "version")
        info.labels(version=__version__).set(1)

    def _edge(self) -> None:
        self.connections = self._gauge("connections", "Sessions open now.", "listener")
        self.connections_total = _kept(
            Counter(
                "smtp_gateway_connections",
                "Connections by what became of them at the door.",
                ("listener", "result"),
                registry=None,
            )
        )
        self.registry.register(_Beside(self.connections_total))
        self.tls_handshakes_total = self._counter("tls_handshakes", "TLS handshakes.", "version", "result")
        self.commands_total = self._counter("commands", "SMTP commands answered.", "verb", "reply_class")
        self.command_seconds = self._histogram("command_seconds", "Time to decide a command.", _FAST, "verb")
        self.messages_total = self._counter("messages", "Messages at the end of their data.", "result")
        self.message_bytes = self._histogram("message_bytes", "Size of accepted messages in octets.", _SIZES)
        self.recipients_total = self._counter("recipients", "Recipients accepted into the queue.", "field")
        self.quota_refusals_total = self._counter("quota_refusals", "Refusals for the daily limit.", "action")
        self.quota_warnings_total = self._counter("quota_warnings", "Accounts that passed 80 % of their daily limit.")
        self.eight_bit_unannounced_total = self._counter(
            "eight_bit_unannounced", "Messages with 8-bit octets although BODY=8BITMIME was not said."
        )
        self.certificate_expiry = self._gauge(
            "tls_certificate_expiry_seconds", "Seconds until the first of the certificates in use expires."
        )

    def _accounts(self) -> None:
        self.auth_attempts_total = self._counter("auth_attempts", "Sign-in attempts.", "mechanism", "result")
        self.auth_seconds = self._histogram("auth_seconds", "Time to answer a sign-in.", _FAST, "path")
        self.password_hash_seconds = self._histogram("password_hash_seconds", "Time in one password hash.", _FAST, "scheme")
        self.password_hashes_waiting = self._gauge("password_hashes_waiting", "Password hashes that wait for a thread.")
        self.verification_memo_total = self._counter("verification_memo", "Passwords looked up in the memo.", "result")
        self.verification_memo_entries = self._gauge(
            "verification_memo_entries", "Verified passwords in the memo, right or wrong."
        )
        self.lockouts_active = self._gauge("lockouts_active", "Lockouts that hold now.", "scope")
        self.lockouts_total = self._counter("lockouts", "Lockouts made.", "scope")
        self.sessions_cut_total = self._counter("sessions_cut", "Sessions ended as their sign-in no longer holds.", "reason")
        self.accounts_query_seconds = self._histogram("accounts_query_seconds", "Time of one query of the login table.", _FAST)
        self.accounts_errors_total = self._counter("accounts_errors", "Failed queries of the login table.")

    def _queue(self) -> None:
        self.store_commit_seconds = self._histogram("store_commit_seconds", "Time of one group commit.", _FAST)
        self.store_commit_items = self._histogram("store_commit_items", "Items in one group commit.", _ITEMS)
        self.store_errors_total = self._counter(
            "store_errors", "Failed transactions of the store and failed steps of its spool."
        )
        self.queue_recipients = self._gauge("queue_recipients", "Recipients in the queue.", "state")
        self.queue_oldest_seconds = self._gauge("queue_oldest_seconds", "Age of the oldest recipient that waits.")
        self.queue_held = self._gauge("queue_held", "Recipients held: their account is disabled, or an operator wants it.")
        self.deliveries_total = self._counter("deliveries", "Recipients by what became of an attempt.", "result")
        self.delivery_attempt_seconds = self._histogram(
            "delivery_attempt_seconds", "Time of one transaction with a hop.", _SLOW, "hop"
        )
        self.delivery_delay_seconds = self._histogram("delivery_delay_seconds", "From acceptance to delivery.", _DELAYS)
        self.hop_connections = self._gauge("hop_connections", "Connections to a next hop.", "hop", "state")
        self.reports_total = self._counter("reports", "Reports sent to senders.", "kind")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return _kept(Counter(f"smtp_gateway_{name}", text, labels, registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return _kept(Gauge(f"smtp_gateway_{name}", text, labels, registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return _kept(Histogram(f"smtp_gateway_{name}", text, labels, buckets=buckets, registry=self.registry))
