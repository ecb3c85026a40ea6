"""Metric families: the names operators' rules and dashboards hold on to, and labels that cannot grow without bound."""

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__
from gateway.metrics import Metrics

# Name as a query writes it, and its labels. Families of later versions come with their features.
NAMES = {
    "connections": ("listener",),
    "connections_total": ("listener", "result"),
    "tls_handshakes_total": ("version", "result"),
    "commands_total": ("verb", "reply_class"),
    "command_seconds": ("verb",),
    "auth_attempts_total": ("mechanism", "result"),
    "auth_seconds": ("path",),
    "password_hash_seconds": ("scheme",),
    "password_hashes_waiting": (),
    "verification_memo_total": ("result",),
    "verification_memo_entries": (),
    "sessions_cut_total": ("reason",),
    "accounts_query_seconds": (),
    "accounts_errors_total": (),
    "messages_total": ("result",),
    "message_bytes": (),
    "recipients_total": ("field",),
    "quota_refusals_total": ("action",),
    "quota_warnings_total": (),
    "eight_bit_unannounced_total": (),
    "store_commit_seconds": (),
    "store_commit_items": (),
    "store_errors_total": (),
    "queue_recipients": ("state",),
    "queue_oldest_seconds": (),
    "queue_held": (),
    "deliveries_total": ("result",),
    "delivery_attempt_seconds": ("hop",),
    "delivery_delay_seconds": (),
    "hop_connections": ("hop", "state"),
    "reports_total": ("kind",),
    "tls_certificate_expiry_seconds": (),
    "build_info": ("version",),
}
# What tells one person, address or peer from another has no place in a label.
UNBOUNDED = {"account", "login", "user", "address", "sender", "recipient", "domain", "peer", "client", "ip", "network", "text"}


def families(metrics: Metrics) -> dict[str, MetricWrapperBase]:
    """Name as a query writes it -> family."""
    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    return {f"{family._name}_total" if family._type == "counter" else family._name: family for family in found}


def labels_of(family: MetricWrapperBase) -> tuple[str, ...]:
    return tuple(family._labelnames)


def test_families_of_the_contract() -> None:
    found = families(Metrics(CollectorRegistry()))
    wanted = {f"smtp_gateway_{name}": labels for name, labels in NAMES.items() if name != "build_info"}
    assert {name: labels_of(family) for name, family in found.items() if name in wanted} == wanted


def test_no_label_without_a_bound() -> None:
    for name, family in families(Metrics(CollectorRegistry())).items():
        assert not UNBOUNDED & set(labels_of(family)), name


def test_names_and_units() -> None:
    for name, family in families(Metrics(CollectorRegistry())).items():
        assert re.fullmatch(r"smtp_gateway_[a-z]+(_[a-z]+)*", name)
        if family._type == "histogram":
            assert name.endswith(("_seconds", "_bytes", "_items"))


def test_version_is_exported() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    assert registry.get_sample_value("smtp_gateway_build_info", {"version": __version__}) == 1


def test_two_registries_are_apart() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.store_errors_total.inc()
    assert one.registry.get_sample_value("smtp_gateway_store_errors_total") == 1
    assert other.registry.get_sample_value("smtp_gateway_store_errors_total") == 0


def test_one_registry_takes_the_families_once() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)


def test_what_is_scraped_can_be_read() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.deliveries_total.labels(result="delivered").inc(2)
    metrics.delivery_delay_seconds.observe(0.3)
    scraped = {family.name: family for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())}
    assert [sample.value for sample in scraped["smtp_gateway_deliveries"].samples if sample.name.endswith("_total")] == [2]
    assert scraped["smtp_gateway_delivery_delay_seconds"].type == "histogram"
