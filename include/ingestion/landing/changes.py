"""Manifests of change data: which files are an hour's changes, and that there will be no more of them.

A manifest only ever grows: a change that comes after its hour was closed lands in that hour as one more file. What
readers have folded without it then holds no more: the claims of later snapshots of the table are deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal, get_args

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest, DataFile
from adrank.contracts.timestamps import HOUR
from adrank.storage import documents
from adrank.storage.object_store import ConflictError, ObjectStore

CdcTable = Literal["ads", "sellers"]
TABLES: Final[tuple[CdcTable, ...]] = get_args(CdcTable)


def write_changes(store: ObjectStore, table: CdcTable, hour: datetime, lines: Sequence[str]) -> DataFile:
    """Write one file of envelopes, one JSON object a line, named by its content. No manifest names it yet."""
    body = "".join(f"{line}\n" for line in lines).encode()
    sha256 = hashlib.sha256(body).hexdigest()
    file = DataFile(name=f"part-{sha256[:16]}.jsonl", rows=len(lines), sha256=sha256)
    store.put(lake.RAW_CDC(table).hour(hour) + file.name, body)
    return file


def add_to_manifest(
    store: ObjectStore, table: CdcTable, hour: datetime, files: Iterable[DataFile], watermark: datetime
) -> CdcManifest:
    """Name ``files`` in the hour's manifest beside those that it names already; the files must be there.

    Naming a file twice is naming it once. ``watermark`` never goes back. Who fails in here calls it again with the same
    files: only then is it certain that no snapshot without them holds.
    """
    added = tuple(files)

    def extended(former: CdcManifest | None) -> CdcManifest:
        named = {file.name: file for file in (*(former.files if former else ()), *added)}
        return CdcManifest(
            table=table,
            hour=hour,
            watermark=max(watermark, former.watermark) if former else watermark,
            files=tuple(named[name] for name in sorted(named)),
            changes=sum(file.rows for file in named.values()),
        )

    manifest = documents.update(store, lake.RAW_CDC(table).manifest(hour), CdcManifest, extended)
    if added:
        _invalidate_snapshots(store, table, hour)
    return manifest


def land_cdc(
    store: ObjectStore, table: CdcTable, hour: datetime, envelopes: Iterable[Mapping[str, Any]]
) -> CdcManifest:
    """Land an hour's Debezium envelopes as JSON lines and close it, by rule: its watermark is its end.

    Land it before the hour's events. Landing more envelopes of the hour adds to it, the same ones again do nothing.
    """
    lines = [json.dumps(envelope, separators=(",", ":"), sort_keys=True) for envelope in envelopes]
    files = [write_changes(store, table, hour, lines)] if lines else []
    return add_to_manifest(store, table, hour, files, hour + HOUR)


def close_empty_hours(store: ObjectStore, start: datetime, end: datetime, *, workers: int = 8) -> None:
    """Write empty manifests for the hours of history in ``[start, end)`` that have none: nothing changed in them.

    Call it when all changes of these hours have landed; whoever waits for an hour waits for its manifests.
    """
    wanted = {(table, hour) for table in TABLES for hour in timestamps.hours(start, end)}
    missing = sorted((hour, table) for table, hour in wanted - set(_closed(store, start, end)))
    with ThreadPoolExecutor(workers, thread_name_prefix="cdc-hours") as pool:
        list(pool.map(lambda empty: _close_empty(store, empty[1], empty[0]), missing))


def _close_empty(store: ObjectStore, table: CdcTable, hour: datetime) -> None:
    manifest = CdcManifest(table=table, hour=hour, watermark=hour + HOUR, changes=0)
    # Somebody else's manifest says at least as much.
    with suppress(ConflictError):
        store.put_if_match(lake.RAW_CDC(table).manifest(hour), documents.encode(manifest), None)


def _closed(store: ObjectStore, start: datetime, end: datetime) -> Iterable[tuple[CdcTable, datetime]]:
    hour_of = {
        lake.RAW_CDC(table).manifest(hour): (table, hour) for table in TABLES for hour in timestamps.hours(start, end)
    }
    for table in TABLES:
        yield from (hour_of[key] for key in store.keys(lake.RAW_CDC(table).prefix) if key in hour_of)


def _invalidate_snapshots(store: ObjectStore, table: CdcTable, hour: datetime) -> None:
    """Delete the claims of all snapshots of days behind ``hour``.

    Again and again, until there is none: a snapshot that begins while its base loses its claim has one of its own by
    then.
    """
    while claims := list(_claims(store, table, hour)):
        for key in claims:
            store.delete(key)


def _claims(store: ObjectStore, table: CdcTable, hour: datetime) -> Iterator[str]:
    for day in store.folders(lake.CATALOGUE(table).prefix):
        if day > lake.CATALOGUE(table).day(hour):
            yield from store.keys(day + lake.CLAIM)
