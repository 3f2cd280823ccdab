"""The simulated billing system bills what was sold, nearly, and delivers exports that the landing accepts."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from adrank.contracts import timestamps
from adrank.storage.object_store import ObjectStore
from ingestion.billing import process
from ingestion.landing import raw_events
from ingestion.landing.event_table import EVENT_SCHEMA
from simulator.sinks.billing_export import LogNotWholeError, charges, export_day, main

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SALES = 600


def land_sales(store: ObjectStore, days: int = 2) -> dict[str, float]:
    """Sales spread over the first day, then empty hours; returns their provisional revenue."""
    sold = {f"sale-{n}": 5.0 + n % 40 for n in range(SALES)}
    rows = []
    for n, (event_id, revenue) in enumerate(sold.items()):
        at = DAY + n * timedelta(days=1) / SALES
        row = dict.fromkeys(EVENT_SCHEMA.names)
        row |= {"event_id": event_id, "event_type": "sale", "event_time": at, "revenue": revenue, "position": 1}
        rows += [row, {**row, "ingest_time": at}] if n % 10 == 0 else [row]
    by_hour = dict(raw_events.by_hour(pa.Table.from_pylist(rows, EVENT_SCHEMA)))
    for hour in timestamps.hours(DAY, DAY + days * timestamps.DAY):
        raw_events.land_hour(store, hour, by_hour.get(hour, EVENT_SCHEMA.empty_table()))
    return sold


def inbox(store: ObjectStore) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.keys("inbox/")}


def test_two_nights_bill_nearly_all_sales_of_a_day_at_nearly_their_price(store: ObjectStore) -> None:
    sold, billed = land_sales(store), defaultdict(Decimal)
    for day in (DAY, DAY + timestamps.DAY):
        exported = export_day(store, day, seed=7, currency="EUR")
        assert exported.rows > 0, "sales of the late evening are billed the next day"
        verdict = process.process_export(store, day, currency="EUR", lag=timedelta(0))
        assert (verdict.outcome, verdict.rows, verdict.total) == ("landed", exported.rows, str(exported.total))
        for line in store.get(verdict.key).decode().splitlines()[1:]:
            event_id, _, amount, _ = line.split(",")
            billed[event_id] += Decimal(amount)
    assert 0.94 * SALES < len(billed) < 0.99 * SALES, "a few were cancelled"
    off = sorted(abs(float(amount) / sold[event] - 1) for event, amount in billed.items())
    assert 0.01 < off[len(off) // 2] < 0.1
    assert min(billed.values()) > 0
    assert any(float(amount) < 0.9 * sold[event] for event, amount in billed.items()), "a few were corrected"


def test_an_export_is_the_same_bytes_every_time_and_others_with_another_seed(store: ObjectStore) -> None:
    land_sales(store)
    export_day(store, DAY, seed=7, currency="EUR")
    first = inbox(store)
    export_day(store, DAY, seed=7, currency="EUR")
    assert inbox(store) == first
    export_day(store, DAY, seed=8, currency="EUR")
    assert inbox(store) != first


def test_every_charge_of_a_sale_comes_within_half_a_day() -> None:
    found = [charges(f"sale-{n}", DAY, 20.0, 7) for n in range(2000)]
    assert {len(rows) for rows in found} == {0, 1, 2}
    latest = max(charge.billed_at for rows in found for charge in rows)
    assert DAY < latest < DAY + timedelta(hours=12)


def test_a_day_that_the_log_has_not_passed_is_refused(store: ObjectStore) -> None:
    land_sales(store, days=1)
    with pytest.raises(LogNotWholeError, match="not the end of 2026-03-02"):
        export_day(store, DAY + timestamps.DAY, seed=7, currency="EUR")
    assert inbox(store) == {}


def test_the_command_exports_day_by_day(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    land_sales(store)
    monkeypatch.setattr(ObjectStore, "connect", lambda bucket, region: store)
    assert main(["--bucket", store.bucket, "--day", "2026-03-01", "--days", "3"]) == 1
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.out.splitlines()] == ["2026-03-01", "2026-03-02"]
    assert "not the end of 2026-03-03" in printed.err
