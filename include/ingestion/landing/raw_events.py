"""Landing: the code that writes the raw layout of events.

Files first, manifest last, so that a reader who trusts manifests never sees half an hour. Landing is idempotent: names
are digests of content, so the same rows land as the same keys with the same bytes, in whatever order they come.
An hour without events has a manifest too. No data is deleted: a file that no manifest names is not part of the lake.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts import lake
from adrank.contracts.manifests import DataFile, RawManifest
from adrank.contracts.timestamps import HOUR, as_utc, floor_hour
from adrank.storage import documents
from adrank.storage.object_store import ObjectStore
from ingestion.landing import event_table

_T = TypeVar("_T")
_R = TypeVar("_R")


class LandingError(ValueError):
    """What was offered does not belong where it was to land."""


class HourToLand(NamedTuple):
    """One hour to land: start, events (:data:`ingestion.landing.event_table.EVENT_SCHEMA`), rows refused in it."""

    hour: datetime
    table: pa.Table
    rejected_rows: int = 0


def land_hour(
    store: ObjectStore,
    hour: datetime,
    table: pa.Table,
    watermark: datetime | None = None,
    *,
    revision: int = 0,
    revision_time: datetime | None = None,
    late_rows: int = 0,
    rejected_rows: int = 0,
) -> RawManifest:
    """Land one raw hour, data file first, manifest last.

    ``watermark`` and ``revision_time`` default to the hour's end: by rule, not by today's clock, so that landing
    history again changes nothing. Raises :class:`LandingError` on an event of another hour, and on a later revision
    that does not say since when it could be read.
    """
    if revision and revision_time is None:
        raise LandingError(f"revision {revision} of hour {hour.isoformat()} has no revision time")
    manifest = _land_file(store, HourToLand(hour, table, rejected_rows)).model_copy(
        update={"revision": revision, "late_rows": late_rows}
    )
    times = {"watermark": watermark, "revision_time": revision_time}
    manifest = manifest.model_copy(update={name: as_utc(time) for name, time in times.items() if time})
    _land_manifest(store, manifest)
    return manifest


def land_hours(store: ObjectStore, hours: Iterable[HourToLand], *, workers: int = 8) -> list[RawManifest]:
    """Land closed hours of history in parallel; no manifest appears before every data file has landed."""
    with ThreadPoolExecutor(workers, thread_name_prefix="landing") as pool:
        manifests = list(_windowed(pool, lambda hour: _land_file(store, hour), hours, 4 * workers))
        for _ in _windowed(pool, lambda manifest: _land_manifest(store, manifest), manifests, 4 * workers):
            pass
    return manifests


def land_rejected(store: ObjectStore, hour: datetime, table: pa.Table) -> str:
    """Keep refused events of one hour (event columns and ``reason``) where a person can look; returns the key."""
    return _land_part(store, lake.RAW_REJECTED.hour(hour), "parquet", event_table.parquet_bytes(table))


def by_hour(table: pa.Table) -> Iterator[tuple[datetime, pa.Table]]:
    """Split events, sorted by ``event_time``, into (hour, rows) for the hours that have any."""
    if table.num_rows == 0:
        return
    starts = pc.floor_temporal(table["event_time"], unit="hour")
    runs = pc.value_counts(starts)
    offset = 0
    for run in runs.to_pylist():
        yield as_utc(run["values"]), table.slice(offset, run["counts"])
        offset += run["counts"]


def _land_file(store: ObjectStore, raw: HourToLand) -> RawManifest:
    hour = floor_hour(raw.hour)
    if hour != raw.hour:
        raise LandingError(f"{raw.hour.isoformat()} is not the start of an hour")
    rows = event_table.sort(event_table.conform(raw.table))
    end = hour + HOUR
    files: tuple[DataFile, ...] = ()
    if rows.num_rows:
        span = pc.min_max(rows["event_time"]).as_py()
        if rows["event_time"].null_count or not hour <= span["min"] <= span["max"] < end:
            raise LandingError(
                f"hour {hour.isoformat()} was offered events of {span['min'].isoformat()} to {span['max'].isoformat()}"
            )
        body = event_table.parquet_bytes(rows)
        key = _land_part(store, lake.RAW_EVENTS.hour(hour), "parquet", body)
        files = (DataFile(name=key.rsplit("/", 1)[1], rows=rows.num_rows, sha256=hashlib.sha256(body).hexdigest()),)
    return RawManifest(
        hour=hour,
        revision_time=end,
        watermark=end,
        files=files,
        rows=rows.num_rows,
        rejected_rows=raw.rejected_rows,
    )


def _land_manifest(store: ObjectStore, manifest: RawManifest) -> None:
    store.put(lake.RAW_EVENTS.manifest(manifest.hour), documents.encode(manifest))


def _land_part(store: ObjectStore, prefix: str, suffix: str, body: bytes) -> str:
    key = f"{prefix}part-{hashlib.sha256(body).hexdigest()[:16]}.{suffix}"
    store.put(key, body)
    return key


def _windowed(pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T], window: int) -> Iterator[_R]:
    """Results in order, with at most ``window`` items drawn ahead, so that long histories are never held whole."""
    ahead: deque[Future[_R]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) >= window:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
