"""A user's own logs land whole, in any of three formats, with everything that was dropped or kept apart counted."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adrank.contracts import lake
from adrank.contracts.manifests import BillingManifest, CdcManifest, RawManifest
from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.own_logs import __main__, importer, report
from ingestion.own_logs.files import FORMATS
from tests.include.ingestion.logs import Row, click, event, events, write

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def imported(directory: Path, store: ObjectStore) -> report.ImportReport:
    logs = importer.read(directory)
    importer.land(logs, store)
    return report.build(logs, timedelta(hours=1))


def landed(store: ObjectStore) -> list[Row]:
    """Every event that a manifest names."""
    rows: list[Row] = []
    for key in sorted(store.keys("raw/events/")):
        if key.endswith(lake.MANIFEST):
            manifest = RawManifest.model_validate_json(store.get(key))
            prefix = lake.RAW_EVENTS.hour(manifest.hour)
            for file in manifest.files:
                rows += pq.read_table(io.BytesIO(store.get(prefix + file.name))).to_pylist()
    return rows


def lines(store: ObjectStore, prefix: str) -> list[Row]:
    files = [key for key in store.keys(prefix) if not key.endswith(f"/{lake.MANIFEST}")]
    return [json.loads(line) for key in files for line in store.get(key).splitlines()]


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_lands_the_same_events(tmp_path: Path, store: ObjectStore, file_format: str) -> None:
    write(tmp_path, "events", events(), file_format)
    report = imported(tmp_path, store)
    assert (report.rows, report.searches, report.users, report.hours) == (21, 20, 3, 1)
    assert report.event_types == {"click": 1, "impression": 20}
    assert (report.first_time, report.last_time) == (TEN, TEN + timedelta(minutes=19))
    first, second = landed(store)[:2]
    assert first == {
        "event_id": "i0",
        "event_type": "impression",
        "event_time": TEN,
        "ingest_time": TEN,
        "user_id": "u0",
        "session_id": None,
        "search_id": "s0",
        "ad_id": "a0",
        "position": 1,
        "model_version": "",
        "experiment_id": "",
        "variant": "",
        "revenue": None,
        "context": [("slot", 1.0)],
    }
    assert second["event_type"] == "click"


def test_importing_twice_changes_nothing(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    write(tmp_path, "ads", [{"ad_id": "a0", "seller_id": "x"}])
    imported(tmp_path, store)
    before = {key: store.get(key) for key in store.keys()}  # noqa: SIM118
    imported(tmp_path, store)
    assert {key: store.get(key) for key in store.keys()} == before  # noqa: SIM118


def test_every_hour_between_first_and_last_event_has_a_manifest(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0), event(1, event_time="2026-03-03T09:59:59.999999Z")])
    assert imported(tmp_path, store).hours == 48
    manifests = [key for key in store.keys("raw/events/") if key.endswith(lake.MANIFEST)]
    assert len(manifests) == 48
    assert RawManifest.model_validate_json(store.get(lake.RAW_EVENTS.manifest(TEN + HOUR))).rows == 0


def test_one_impression_is_a_log(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0)])
    report = imported(tmp_path, store)
    assert (report.rows, report.hours) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01 10:00:00",
        "2026-03-01T12:00:00+02:00",
        "2026-03-01T10:00:00.000",
        "2026-03-01T10:00:00.000000000Z",
        "2026-03-01T05:00-0500",
    ],
)
def test_times_are_read_in_any_iso_spelling_and_without_a_zone_as_utc(
    tmp_path: Path, store: ObjectStore, text: str
) -> None:
    write(tmp_path, "events", [event(0, event_time=text), event(1)])
    imported(tmp_path, store)
    assert landed(store)[0]["event_time"] == TEN


@pytest.mark.parametrize("stored", [TEN.replace(tzinfo=None), TEN, TEN.date()])
def test_parquet_times_of_any_kind_are_read(tmp_path: Path, store: ObjectStore, stored: datetime | date) -> None:
    write(tmp_path, "events", [event(0, event_time=stored)], "parquet")
    imported(tmp_path, store)
    assert landed(store)[0]["event_time"] == (TEN if isinstance(stored, datetime) else TEN.replace(hour=0))


def test_nanoseconds_of_parquet_are_cut_to_microseconds(tmp_path: Path, store: ObjectStore) -> None:
    row: dict[str, Any] = {name: [value] for name, value in event(0).items()}
    row["event_time"] = pa.array([int(TEN.timestamp()) * 10**9 + 1], pa.timestamp("ns"))
    pq.write_table(pa.table(row), tmp_path / "events.parquet")
    imported(tmp_path, store)
    assert landed(store)[0]["event_time"] == TEN


def test_ids_that_are_numbers_become_text(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0, user_id=7, ad_id=12.0)], "parquet")
    imported(tmp_path, store)
    assert (landed(store)[0]["user_id"], landed(store)[0]["ad_id"]) == ("7", "12")


def test_extra_numeric_columns_become_context_next_to_the_slot(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0, price="9.5", rank=2, position=4), event(1, price="", rank=3)])
    report = imported(tmp_path, store)
    assert report.context_features == ("price", "rank")
    assert [dict(row["context"]) for row in landed(store)] == [
        {"price": 9.5, "rank": 2.0, "slot": 4.0},
        {"rank": 3.0, "slot": 1.0},
    ]


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_context_column_is_kept_as_context(tmp_path: Path, store: ObjectStore, file_format: str) -> None:
    write(tmp_path, "events", [event(0, context={"dist": 1.5}), event(1, context={"dist": None})], file_format)
    imported(tmp_path, store)
    assert [dict(row["context"]) for row in landed(store)] == [{"dist": 1.5, "slot": 1.0}, {"slot": 1.0}]


def test_extra_columns_that_are_not_numbers_are_ignored_and_named(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0, device="1"), event(1, device="phone"), event(2, device="2")])
    report = imported(tmp_path, store)
    assert report.ignored_columns == {
        "device": "not numeric: events.csv: row 2 (line 3): column device: 'phone' is not a number"
    }
    assert report.context_features == ()


def test_a_column_called_slot_gives_way_to_the_logged_position(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [event(0, slot=99, position=3)])
    assert "slot" in imported(tmp_path, store).ignored_columns
    assert dict(landed(store)[0]["context"]) == {"slot": 3.0}


def test_a_repeated_event_is_dropped_and_counted(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [*events(), event(3), event(3, ingest_time="2026-03-01T10:30:00Z")])
    report = imported(tmp_path, store)
    assert (report.duplicates, report.rows) == (2, 21)
    assert len({row["event_id"] for row in landed(store)}) == len(landed(store)) == 21


def test_another_event_under_a_used_id_is_kept_apart_with_its_reason(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [*events(), event(5, event_id="i3")])
    report = imported(tmp_path, store)
    assert report.rejected == {"event_id used by another event": 1}
    assert report.duplicates == 0


def test_an_outcome_without_impression_is_kept_apart_counted_and_visible(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", [*events(), click(4, ad_id="elsewhere"), click(5, search_id="nowhere")])
    report = imported(tmp_path, store)
    assert report.rejected == {"outcome without impression": 2}
    assert report.rows == len(landed(store)) == 21
    (key,) = store.keys("raw/rejected/")
    kept = pq.read_table(io.BytesIO(store.get(key))).to_pylist()
    assert {row["reason"] for row in kept} == {"outcome without impression"}
    assert RawManifest.model_validate_json(store.get(lake.RAW_EVENTS.manifest(TEN))).rejected_rows == 2


def test_outcomes_later_than_the_maturity_window_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "events", [*events(), click(1, event_time="2026-03-01T12:00:00Z")])
    logs = importer.read(tmp_path)
    assert report.build(logs, timedelta(hours=1)).late_outcomes == 1
    assert report.build(logs, timedelta(hours=3)).late_outcomes == 0


def test_ads_and_sellers_land_as_a_snapshot_visible_from_the_start(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    new = {"ad_id": "a1", "seller_id": "x", "price": "", "created_at": "2026-03-05T00:00:00Z"}
    old = {"ad_id": "a0", "seller_id": "x", "price": "5", "created_at": "2025-01-01", "image_quality_score": 0.5}
    old["title"] = "Oak desk"
    write(tmp_path, "ads", [old, new])
    write(tmp_path, "sellers", [{"seller_id": "x", "created_at": ""}])
    report = imported(tmp_path, store)
    assert (report.ads, report.sellers) == (2, 1)
    first, second = lines(store, "raw/cdc/ads/dt=2026-03-01/hr=10/")
    created = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    assert first == {
        "op": "r",
        "ts_ms": created * 1000,
        "before": None,
        "after": {
            "ad_id": "a0",
            "seller_id": "x",
            "category": None,
            "title": "Oak desk",
            "price": 5.0,
            "created_at": created * 1_000_000,
            "image_quality_score": 0.5,
        },
        "source": {"table": "ads", "lsn": 0},
    }
    assert second["ts_ms"] == int(TEN.timestamp()) * 1000
    assert second["after"]["title"] is None
    assert second["after"]["created_at"] == int(datetime(2026, 3, 5, tzinfo=UTC).timestamp()) * 1_000_000
    (seller,) = lines(store, "raw/cdc/sellers/dt=2026-03-01/hr=10/")
    assert seller["after"] == {"seller_id": "x", "created_at": None}


def test_the_last_row_of_an_ad_wins_and_the_others_are_counted(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    ads = [{"ad_id": "a0", "seller_id": "x", "price": price} for price in (1, 2)]
    write(tmp_path, "ads", ads)
    assert imported(tmp_path, store).replaced_entities == 1
    (envelope,) = lines(store, "raw/cdc/ads/")
    assert envelope["after"]["price"] == 2.0


def test_without_ads_and_sellers_their_snapshots_are_empty(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    imported(tmp_path, store)
    assert not [key for key in store.keys("raw/cdc/") if not key.endswith(f"/{lake.MANIFEST}")]


def test_every_hour_of_change_data_is_closed(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    write(tmp_path, "ads", [{"ad_id": "a0", "seller_id": "x", "price": 1}])
    imported(tmp_path, store)
    hours = [key.split("/")[2:4] for key in store.keys("raw/events/") if key.endswith(f"/{lake.MANIFEST}")]
    for table, changes in (("ads", 1), ("sellers", 0)):
        keys = [f"raw/cdc/{table}/{day}/{hour}/{lake.MANIFEST}" for day, hour in hours]
        assert sum(CdcManifest.model_validate_json(store.get(key)).changes for key in keys) == changes


def test_billed_amounts_replace_the_revenue_of_their_event(tmp_path: Path, store: ObjectStore) -> None:
    sale = click(1, event_id="b1", event_type="sale", revenue=99)
    write(tmp_path, "events", [*events(), sale, click(2, revenue=7)])
    bill = {"event_id": "b1", "billed_at": "2026-03-04T00:00:00Z", "amount": 10, "currency": "EUR"}
    write(
        tmp_path, "billing", [bill, {**bill, "amount": -2.5}, {**bill, "event_id": "unknown"}, {**bill, "amount": ""}]
    )
    report = imported(tmp_path, store)
    assert (report.billing_rows, report.billed_events, report.billing_unmatched) == (4, 1, 1)
    revenue = {row["event_id"]: row["revenue"] for row in landed(store)}
    assert (revenue["b1"], revenue["c2"], revenue["c0"]) == (7.5, 7.0, None)
    day = datetime(2026, 3, 4, tzinfo=UTC)
    manifest = BillingManifest.model_validate_json(store.get(lake.RAW_BILLING.manifest(day)))
    assert (manifest.file.rows, manifest.total, manifest.currency) == (4, "17.500000", "EUR")
    assert (
        len(list(csv.DictReader(io.StringIO(store.get(lake.RAW_BILLING.day(day) + manifest.file.name).decode())))) == 4
    )


def test_billing_covers_every_day_from_the_first_event_to_its_last_row(tmp_path: Path, store: ObjectStore) -> None:
    write(tmp_path, "events", events())
    bill = {"event_id": "c0", "billed_at": "2026-03-03T10:00:00Z", "amount": 0.1, "currency": "EUR"}
    write(tmp_path, "billing", [bill, {**bill, "amount": 0.2}, {**bill, "amount": "0.0000004"}])
    imported(tmp_path, store)
    manifests = [key for key in store.keys("raw/billing/") if key.endswith(f"/{lake.MANIFEST}")]
    assert manifests == [f"raw/billing/dt=2026-03-0{day}/{lake.MANIFEST}" for day in (1, 2, 3)]
    (c0,) = [row for row in landed(store) if row["event_id"] == "c0"]
    assert c0["revenue"] == 0.3, "added up exactly, in millionths"
    before = {key: store.get(key) for key in store.keys("")}
    imported(tmp_path, store)
    assert {key: store.get(key) for key in store.keys("")} == before


def test_the_command_prints_the_report_and_checks_without_landing(
    tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "events", events())
    arguments = ["--data", str(tmp_path), "--bucket", store.bucket, "--labels-maturity", "PT30M"]
    assert __main__.main([*arguments, "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 21
    assert list(store.keys()) == []
    assert __main__.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 21
    assert list(store.keys("raw/events/"))


def test_a_bucket_that_is_not_there_is_an_error_of_the_command(
    tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "events", events())
    assert __main__.main(["--data", str(tmp_path), "--bucket", "no-such-bucket"]) == 1
    assert "no-such-bucket" in capsys.readouterr().err.splitlines()[-1]
