"""The figures of workers, merged: sums, minima, and counters that never go backwards."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Metrics
from gateway.web.totals import Totals, figures


class Worker:
    """One life of a worker, and what comes of its figures on the way through JSON."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())

    def says(self) -> Any:
        return json.loads(json.dumps(figures(self.metrics.registry)))


def shown(totals: Totals, name: str, **labels: str) -> list[float]:
    """The samples smtp_gateway_`name` with these labels, as a scrape has them."""
    families = text_string_to_metric_families(generate_latest(totals).decode("utf-8"))
    samples = [sample for family in families for sample in family.samples if sample.name == f"smtp_gateway_{name}"]
    return [sample.value for sample in samples if labels.items() <= sample.labels.items()]


@pytest.fixture
def parent() -> Worker:
    return Worker()


@pytest.fixture
def totals(parent: Worker) -> Totals:
    return Totals(parent.metrics.registry)


def test_counters_are_added_up_label_by_label(totals: Totals, parent: Worker) -> None:
    one, two = Worker(), Worker()
    one.metrics.deliveries_total.labels("delivered").inc(3)
    two.metrics.deliveries_total.labels("delivered").inc(4)
    two.metrics.deliveries_total.labels("failed").inc()
    parent.metrics.store_errors_total.inc()
    two.metrics.store_errors_total.inc()
    totals.heard(1, one.says())
    totals.heard(2, two.says())
    assert shown(totals, "deliveries_total", result="delivered") == [7]
    assert shown(totals, "deliveries_total", result="failed") == [1]
    assert shown(totals, "store_errors_total") == [2]


def test_histograms_are_added_up_bucket_by_bucket(totals: Totals) -> None:
    one, two = Worker(), Worker()
    one.metrics.store_commit_items.observe(1)
    two.metrics.store_commit_items.observe(3)
    two.metrics.store_commit_items.observe(1000)
    totals.heard(1, one.says())
    totals.heard(2, two.says())
    assert shown(totals, "store_commit_items_bucket") == [1, 1, 2, 2, 2, 2, 2, 2, 3]
    assert shown(totals, "store_commit_items_count") == [3]
    assert shown(totals, "store_commit_items_sum") == [1004]


def test_gauges_by_what_they_mean(totals: Totals, parent: Worker) -> None:
    one, two = Worker(), Worker()
    parent.metrics.certificate_expiry.set(float("inf"))  # it has no certificate
    parent.metrics.queue_recipients.labels("queued").set(9)
    parent.metrics.lockouts_active.labels("account").set(2)
    for worker, open_sessions, expires in ((one, 2, 500), (two, 3, 400)):
        worker.metrics.connections.labels("127.0.0.1:25").set(open_sessions)
        worker.metrics.certificate_expiry.set(expires)
    totals.heard(1, one.says())
    totals.heard(2, two.says())
    assert shown(totals, "connections", listener="127.0.0.1:25") == [5]
    assert shown(totals, "tls_certificate_expiry_seconds") == [400]
    assert shown(totals, "queue_recipients", state="queued") == [9]
    assert shown(totals, "lockouts_active", scope="account") == [2]
    assert shown(totals, "build_info") == [1]


def test_a_gauge_and_a_counter_of_one_name_stay_two(totals: Totals) -> None:
    one = Worker()
    one.metrics.connections.labels("l").set(1)
    one.metrics.connections_total.labels("l", "accepted").inc(7)
    totals.heard(1, one.says())
    totals.heard(2, one.says())
    assert shown(totals, "connections") == [2]
    assert shown(totals, "connections_total") == [14]


def test_the_latest_word_of_a_worker_replaces_the_one_before(totals: Totals) -> None:
    one = Worker()
    for _ in range(2):
        one.metrics.store_errors_total.inc()
        totals.heard(1, one.says())
    assert shown(totals, "store_errors_total") == [2]


def test_a_dead_worker_leaves_what_it_counted_and_takes_what_it_had(totals: Totals) -> None:
    for _ in range(2):  # two lives
        one = Worker()
        one.metrics.store_errors_total.inc(5)
        one.metrics.store_commit_items.observe(1)
        one.metrics.connections.labels("l").set(3)
        totals.heard(1, one.says())
        totals.died(1)
    assert shown(totals, "store_errors_total") == [10]
    assert shown(totals, "store_commit_items_count") == [2]
    assert shown(totals, "connections") == []


def test_one_that_died_without_a_word(totals: Totals) -> None:
    totals.died(3)
    assert shown(totals, "build_info") == [1]


def test_every_family_is_there_once_and_as_one_process_has_it(totals: Totals, parent: Worker) -> None:
    totals.heard(1, Worker().says())
    alone = generate_latest(parent.metrics.registry).decode("utf-8")
    assert generate_latest(totals).decode("utf-8") == alone


def test_a_sum_of_seconds_does_not_go_backwards_by_its_last_bit(totals: Totals) -> None:
    lives = [(1, 0.1), (2, 0.2), (3, 0.3)]
    for worker, seconds in lives:
        totals.heard(worker, [("s", "histogram", "", [("s_sum", {}, seconds)])])
    before = _sum_of(totals)
    for worker in (3, 2, 1):
        totals.died(worker)
        assert _sum_of(totals) >= before


def _sum_of(totals: Totals) -> float:
    return next(sample.value for family in totals.collect() for sample in family.samples if sample.name == "s_sum")


STEP = st.tuples(st.integers(1, 3), st.sampled_from(["counts", "says", "dies"]))


@given(st.lists(STEP, max_size=40))
def test_a_counter_never_goes_backwards_and_loses_only_what_was_not_said(steps: list[tuple[int, str]]) -> None:
    totals = Totals(CollectorRegistry())
    counted = dict.fromkeys((1, 2, 3), 0)
    before = said = 0.0
    latest = dict.fromkeys((1, 2, 3), 0)
    for worker, step in steps:
        if step == "counts":
            counted[worker] += 1
        elif step == "says":
            said += counted[worker] - latest[worker]
            latest[worker] = counted[worker]
            totals.heard(worker, [("n", "counter", "", [("n_total", {"a": "b"}, float(counted[worker]))])])
        else:
            totals.died(worker)
            counted[worker] = latest[worker] = 0
        now = sum(sample.value for family in totals.collect() for sample in family.samples)
        assert now >= before
        assert now == said
        before = now
