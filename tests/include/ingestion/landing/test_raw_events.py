"""Landing writes the raw layout: whole hours, files before manifests, the same rows as the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.events import EVENT_COLUMNS
from adrank.contracts.manifests import RawManifest
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.landing import changes, event_table, raw_events
from ingestion.landing.event_table import EVENT_SCHEMA, EventTableError, context_maps

HOUR = datetime(2026, 3, 1, 5, tzinfo=UTC)


def events(*minutes: int, hour: datetime = HOUR) -> pa.Table:
    times = [hour + timedelta(minutes=m) for m in minutes]
    n = len(minutes)
    texts = {name: [f"{name}-{m}" for m in minutes] for name, kind in EVENT_COLUMNS.items() if kind == "string"}
    return pa.table(
        {
            **texts,
            "event_time": times,
            "ingest_time": times,
            "position": [1] * n,
            "revenue": [None] * n,
            "context": [[("slot", float(m))] for m in minutes],
        },
        schema=EVENT_SCHEMA,
    )


def objects(store: ObjectStore) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.keys()}  # noqa: SIM118 - a store is not a mapping


def test_an_hour_lands_as_one_file_and_a_manifest_that_names_it(store: ObjectStore) -> None:
    manifest = raw_events.land_hour(store, HOUR, events(1, 2, 3))
    assert RawManifest.model_validate_json(store.get(lake.RAW_EVENTS.manifest(HOUR))) == manifest
    (file,) = manifest.files
    body = store.get(lake.RAW_EVENTS.hour(HOUR) + file.name)
    assert hashlib.sha256(body).hexdigest() == file.sha256
    landed = pq.read_table(io.BytesIO(body))
    assert landed.schema.equals(EVENT_SCHEMA)
    assert landed.num_rows == manifest.rows == file.rows == 3
    assert manifest.watermark == manifest.revision_time == HOUR + timestamps.HOUR


def test_the_file_has_the_columns_and_types_of_the_contract() -> None:
    assert {field.name: str(field.type) for field in EVENT_SCHEMA} == EVENT_COLUMNS


def test_the_same_rows_in_another_order_land_as_the_same_bytes(store: ObjectStore) -> None:
    raw_events.land_hour(store, HOUR, events(1, 2, 3))
    before = objects(store)
    raw_events.land_hour(store, HOUR, events(3, 1, 2))
    assert objects(store) == before


def test_other_rows_land_as_another_file(store: ObjectStore) -> None:
    first = raw_events.land_hour(store, HOUR, events(1, 2, 3))
    second = raw_events.land_hour(store, HOUR, events(1, 2, 4))
    assert first.files != second.files


def test_an_empty_hour_has_a_manifest_and_no_file(store: ObjectStore) -> None:
    manifest = raw_events.land_hour(store, HOUR, event_table.empty())
    assert (manifest.rows, manifest.files) == (0, ())
    assert list(store.keys()) == [lake.RAW_EVENTS.manifest(HOUR)]


def test_watermark_revision_and_counts_are_carried(store: ObjectStore) -> None:
    late = HOUR + timedelta(hours=7)
    manifest = raw_events.land_hour(
        store, HOUR, events(1), late, revision=2, revision_time=late, late_rows=1, rejected_rows=4
    )
    assert (manifest.watermark, manifest.revision, manifest.revision_time) == (late, 2, late)
    assert (manifest.late_rows, manifest.rejected_rows) == (1, 4)


def test_an_event_of_another_hour_is_refused_and_nothing_lands(store: ObjectStore) -> None:
    with pytest.raises(raw_events.LandingError, match=r"hour 2026-03-01T05:00:00\+00:00 was offered events of"):
        raw_events.land_hour(store, HOUR, events(1, 61))
    assert objects(store) == {}


def test_a_moment_inside_an_hour_is_refused(store: ObjectStore) -> None:
    with pytest.raises(raw_events.LandingError, match="not the start of an hour"):
        raw_events.land_hour(store, HOUR + timedelta(minutes=5), event_table.empty())


def test_a_table_that_lacks_a_column_is_refused_by_name(store: ObjectStore) -> None:
    with pytest.raises(EventTableError, match="lacks column user_id"):
        raw_events.land_hour(store, HOUR, events(1).drop_columns(["user_id"]))


def test_a_table_with_a_column_too_many_is_refused_by_name(store: ObjectStore) -> None:
    with pytest.raises(EventTableError, match="unknown column label"):
        raw_events.land_hour(store, HOUR, events(1).append_column("label", pa.array([1.0])))


def test_many_hours_land_in_order_with_empty_ones_between(store: ObjectStore) -> None:
    hours = [HOUR + i * timestamps.HOUR for i in range(50)]
    tables = [events(1, hour=hour) if i % 2 else event_table.empty() for i, hour in enumerate(hours)]
    manifests = raw_events.land_hours(store, (raw_events.HourToLand(*pair) for pair in zip(hours, tables, strict=True)))
    assert [m.hour for m in manifests] == hours
    assert sum(m.rows for m in manifests) == 25
    assert len(list(store.keys("raw/events/"))) == 75


def test_one_bad_hour_among_many_leaves_no_manifest_at_all(store: ObjectStore) -> None:
    hours = [
        raw_events.HourToLand(HOUR + i * timestamps.HOUR, events(1, hour=HOUR + i * timestamps.HOUR)) for i in range(20)
    ]
    hours[13] = raw_events.HourToLand(hours[13].hour, events(1))
    with pytest.raises(raw_events.LandingError):
        raw_events.land_hours(store, hours)
    assert not [key for key in store.keys() if key.endswith(lake.MANIFEST)]  # noqa: SIM118


def test_a_later_revision_says_since_when_it_can_be_read(store: ObjectStore) -> None:
    with pytest.raises(raw_events.LandingError, match=r"revision 1 of hour .* has no revision time"):
        raw_events.land_hour(store, HOUR, events(1), revision=1)
    assert (
        raw_events.land_hour(store, HOUR, events(1), revision=1, revision_time=HOUR + 3 * timestamps.HOUR).revision == 1
    )


def test_change_data_lands_as_json_lines_under_its_table(store: ObjectStore) -> None:
    envelope = {"op": "c", "ts_ms": 1, "before": None, "after": {"ad_id": "a"}, "source": {"table": "ads", "lsn": 1}}
    manifest = changes.land_cdc(store, "ads", HOUR, [envelope, {**envelope, "op": "u"}])
    assert (manifest.changes, manifest.watermark) == (2, HOUR + timestamps.HOUR)
    key = lake.RAW_CDC("ads").hour(HOUR) + manifest.files[0].name
    assert [json.loads(line)["op"] for line in store.get(key).splitlines()] == ["c", "u"]


def test_a_missing_context_value_leaves_its_key_out() -> None:
    maps = context_maps(["a", "b"], [pa.array([1.0, None]), pa.array([None, None], pa.float64())])
    assert maps.to_pylist() == [[("a", 1.0)], []]


def test_a_bucket_that_is_not_there_is_named(store: ObjectStore) -> None:
    absent = ObjectStore.connect("no-such-bucket", region="us-east-1")
    with pytest.raises(ObjectStoreError, match=r"put_object of s3://no-such-bucket/k failed: .*NoSuchBucket"):
        absent.put("k", b"")
    with pytest.raises(ObjectStoreError, match=r"list_objects_v2 of s3://no-such-bucket/p/ failed: .*NoSuchBucket"):
        list(absent.keys("p/"))
    with pytest.raises(ObjectStoreError, match=r"list_objects_v2 of s3://no-such-bucket/p/"):
        absent.folders("p/")
