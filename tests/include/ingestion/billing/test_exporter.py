"""Prometheus is told what is in quarantine, from the lake itself."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts import metrics as metric_names
from adrank.contracts.manifests import BillingVerdict
from adrank.contracts.settings import Billing, Settings
from adrank.storage.object_store import ObjectStore
from ingestion.billing import exporter
from ingestion.billing.exporter import BillingMetrics
from ingestion.billing.process import process_export
from tests.include.ingestion.billing_exports import DAY, LINES, control, deliver

CORRECTED = (*LINES, "sale-3,2026-03-01T10:00:00Z,1.00,EUR")
WRONG = (LINES[0].replace("EUR", "USD"),)
NEXT = DAY + timestamps.DAY


def judged(store: ObjectStore, *lines: str) -> BillingVerdict:
    """A delivery of ``DAY``, and what the job that looks at it leaves behind."""
    deliver(store, *lines)
    verdict = process_export(store, DAY, currency="EUR", lag=timedelta(hours=3))
    store.put(lake.BILLING_VERDICT.key(DAY), verdict.model_dump_json().encode())
    return verdict


@pytest.fixture
def metrics() -> BillingMetrics:
    return BillingMetrics()


def gauges(metrics: BillingMetrics, store: ObjectStore) -> tuple[float | None, ...]:
    metrics.read(store)
    names = (metric_names.BILLING_QUARANTINED_EXPORTS, metric_names.BILLING_QUARANTINED_DAYS)
    return tuple(metrics.registry.get_sample_value(name) for name in names)


def test_an_empty_lake_has_nothing_in_quarantine(metrics: BillingMetrics, store: ObjectStore) -> None:
    assert gauges(metrics, store) == (0, 0)
    assert metrics.registry.get_sample_value(metric_names.BILLING_LAST_DAY) == 0


def test_a_refused_export_counts_once_however_often_it_is_looked_at(
    metrics: BillingMetrics, store: ObjectStore
) -> None:
    for _ in range(2):
        assert judged(store, *WRONG).outcome == "quarantined"
        assert gauges(metrics, store) == (1, 1)
    judged(store, *WRONG, LINES[1])
    assert gauges(metrics, store) == (2, 1)


def test_a_day_waits_until_a_corrected_export_has_landed(metrics: BillingMetrics, store: ObjectStore) -> None:
    judged(store, *WRONG)
    assert gauges(metrics, store) == (1, 1)
    assert judged(store, *LINES).outcome == "landed"
    assert gauges(metrics, store) == (1, 0)
    assert metrics.registry.get_sample_value(metric_names.BILLING_LAST_DAY) == DAY.timestamp()


def test_a_day_without_a_verdict_waits(metrics: BillingMetrics, store: ObjectStore) -> None:
    store.put(lake.BILLING_QUARANTINE.day(NEXT) + "0123456789abcdef/reason.json", b"{}")
    assert gauges(metrics, store) == (1, 1)


def unsettled(metrics: BillingMetrics, store: ObjectStore) -> float | None:
    metrics.read(store)
    return metrics.registry.get_sample_value(metric_names.BILLING_UNSETTLED_DAYS)


class TestDeliveriesThatNoVerdictIsAbout:
    def test_a_correction_after_its_day_landed_counts_until_it_is_settled(
        self, metrics: BillingMetrics, store: ObjectStore
    ) -> None:
        assert judged(store, *LINES).outcome == "landed"
        assert unsettled(metrics, store) == 0
        deliver(store, *CORRECTED)
        assert unsettled(metrics, store) == 1
        verdict = process_export(store, DAY, currency="EUR", lag=timedelta(hours=3))
        assert unsettled(metrics, store) == 1
        store.put(lake.BILLING_VERDICT.key(DAY), verdict.model_dump_json().encode())
        assert (verdict.revision, unsettled(metrics, store)) == (1, 0)

    def test_another_control_total_alone_is_another_delivery(self, metrics: BillingMetrics, store: ObjectStore) -> None:
        judged(store, *LINES)
        store.put(lake.BILLING_INBOX.day(DAY) + "control.json", control(*CORRECTED))
        assert unsettled(metrics, store) == 1

    def test_the_same_files_again_are_the_same_delivery(self, metrics: BillingMetrics, store: ObjectStore) -> None:
        judged(store, *LINES)
        deliver(store, *LINES)
        assert unsettled(metrics, store) == 0

    def test_a_refused_delivery_waits_in_quarantine_and_its_correction_here(
        self, metrics: BillingMetrics, store: ObjectStore
    ) -> None:
        judged(store, *WRONG)
        assert unsettled(metrics, store) == 0
        deliver(store, *LINES)
        assert unsettled(metrics, store) == 1

    def test_a_day_without_a_verdict_counts(self, metrics: BillingMetrics, store: ObjectStore) -> None:
        judged(store, *LINES)
        deliver(store, day=NEXT)
        assert unsettled(metrics, store) == 1

    def test_only_the_last_two_weeks_up_to_the_newest_landed_day_are_looked_at(
        self, metrics: BillingMetrics, store: ObjectStore
    ) -> None:
        judged(store, *LINES)
        for days in (14, 13, -40):
            deliver(store, day=DAY - days * timestamps.DAY)
        assert unsettled(metrics, store) == 2, "13 days before, and one long after, whoever dated it"

    def test_what_is_no_day_or_no_delivery_does_not_count(self, metrics: BillingMetrics, store: ObjectStore) -> None:
        judged(store, *LINES)
        store.put("inbox/billing/dt=yesterday/export.csv", b"")
        store.put(lake.BILLING_INBOX.day(NEXT) + "notes.txt", b"")
        store.put(lake.BILLING_INBOX.day(DAY) + "notes.txt", b"")
        assert unsettled(metrics, store) == 0

    def test_a_delivery_is_read_once(
        self, metrics: BillingMetrics, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judged(store, *LINES)
        assert unsettled(metrics, store) == 0
        monkeypatch.setattr(store, "get", lambda key: pytest.fail(f"{key} was read again"))
        assert unsettled(metrics, store) == 0


@pytest.mark.parametrize("broken", ["lake", "verdict"])
def test_what_cannot_be_read_leaves_the_last_figures_and_their_age(
    metrics: BillingMetrics, store: ObjectStore, broken: str
) -> None:
    judged(store, *WRONG)
    assert gauges(metrics, store) == (1, 1)
    before = metrics.registry.get_sample_value(metric_names.BILLING_READ)
    judged(store, *WRONG, LINES[1])
    if broken == "verdict":
        store.put(lake.BILLING_VERDICT.key(DAY), b"{}")
        assert gauges(metrics, store) == (1, 1)
    else:
        assert gauges(metrics, ObjectStore(f"no-{store.bucket}", store.client)) == (1, 1)
    assert metrics.registry.get_sample_value(metric_names.BILLING_READ) == before


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(exporter, "load", lambda: Settings(billing=Billing(metrics_port=port)))
        assert exporter.main([]) == 1
    assert f"127.0.0.1:{port}" in caplog.text
