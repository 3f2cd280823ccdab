"""Daily snapshots of ads and sellers, so that an hour's history does not begin with the first change that ever was.

A snapshot is what the fold of all change data of the hours before its day has compacted (:mod:`spark.catalogue.fold`);
folding what came since on top of it gives what folding everything gives. Three things make that exact:

- A change that lands for an hour before the day outdates the snapshot. An attempt to write one claims that it holds
  before it reads any change data, and whoever names new files in a manifest of change data then deletes the claims of
  the days behind that hour (:mod:`ingestion.landing.changes`): however the two interleave, either the attempt has read
  the change or its claim is gone, and a snapshot without claim is none. Manifests that something else writes must
  follow the same order; this is assumed, not checked.
- A change that lands for an hour from the day on, but belongs before a compacted one of its row (its database log has
  it earlier, or it says an earlier time), is found when it is read; then an earlier snapshot is taken, or none.
- A snapshot of other columns than those that are asked for is not taken.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake
from adrank.contracts.manifests import CatalogueManifest
from adrank.contracts.timestamps import HOUR, floor_day
from spark.catalogue import change_data, fold
from spark.catalogue.fold import COLUMNS, Changes, Table
from spark.lake.files import LakeFiles

_DAY: Final = "dt="
#: Snapshots that are tried before everything is folded.
_MAX_ATTEMPTS: Final = 3


def ensure(spark: SparkSession, files: LakeFiles, table: Table, day: datetime, ignored: Collection[str] = ()) -> bool:
    """Have the snapshot of ``day`` in the lake; returns whether it is there.

    It is written if it is missing, from the newest one before it, and if the last hour before the day is closed: hours
    close in order. Whoever writes it, and from whatever earlier one, it has the same rows.

    :param day: the start of a UTC day.
    """
    if floor_day(day) != day:
        raise ValueError(f"{day.isoformat()} is not the start of a day in UTC")
    if _valid(files, table, day) is not None:
        return True
    if not files.exists(lake.RAW_CDC(table).manifest(day - HOUR)):
        return False
    attempt = uuid.uuid4().hex
    files.write(lake.catalogue_claim(table, day, attempt), "")
    before = changes(spark, files, table, day - HOUR, day, ignored)
    folder = lake.CATALOGUE(table).day(day) + attempt
    (
        fold.compacted(before, day)
        .write.option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .parquet(files.uri(folder))
    )
    manifest = CatalogueManifest(
        table=table,
        day=day,
        columns=dict(COLUMNS[table]),
        truncations=0 if before.truncations is None else before.truncations.count(),
        attempt=attempt,
        files=tuple(f"{attempt}/{name}" for name in files.parquet_files(folder)),
    )
    files.write(lake.CATALOGUE(table).manifest(day), manifest.model_dump_json(indent=2))
    return _valid(files, table, day) is not None


def changes(
    spark: SparkSession,
    files: LakeFiles,
    table: Table,
    since: datetime,
    end: datetime,
    ignored: Collection[str] = (),
) -> Changes:
    """Changes of the hours before ``end``, compacted ones in the place of those that lie far enough before ``since``.

    Reads the newest snapshot of a day that had begun by ``since`` and the change data from that day on; all of it where
    there is no snapshot. Errors are those of :func:`spark.catalogue.change_data.read`.
    """
    for snapshot in islice(_snapshots(files, table, since), _MAX_ATTEMPTS):
        log = change_data.read(spark, files, table, snapshot.day, end, COLUMNS[table], ignored)
        compacted = _read(spark, files, table, snapshot)
        both = compacted.unionByName(fold.changes(log.envelopes, table))
        found = _applied(both, bool(snapshot.truncations) or "t" in log.operations)
        # Whoever folds them reads them again.
        found.rows.persist()
        if not fold.precedes_compacted(found.rows, snapshot.day):
            return found
        found.rows.unpersist()
    log = change_data.read(spark, files, table, None, end, COLUMNS[table], ignored)
    return _applied(fold.changes(log.envelopes, table), "t" in log.operations)


def _applied(changes: DataFrame, truncated: bool) -> Changes:
    return fold.expand_truncations(changes) if truncated else Changes(changes, None)


def _snapshots(files: LakeFiles, table: Table, until: datetime) -> Iterator[CatalogueManifest]:
    """Snapshots that hold, of the day of ``until`` and before it, newest first. The days are listed only on a miss."""
    newest = floor_day(until)
    if (found := _valid(files, table, newest)) is not None:
        yield found
    names = files.names(lake.CATALOGUE(table).prefix)
    days = (datetime.fromisoformat(name.removeprefix(_DAY)).replace(tzinfo=UTC) for name in names if _DAY in name)
    for day in sorted(days, reverse=True):
        if day < newest and (found := _valid(files, table, day)) is not None:
            yield found


def _valid(files: LakeFiles, table: Table, day: datetime) -> CatalogueManifest | None:
    found = files.load(lake.CATALOGUE(table).manifest(day), CatalogueManifest)
    if found is None or found.columns != COLUMNS[table]:
        return None
    return found if files.exists(lake.catalogue_claim(table, day, found.attempt)) else None


def _read(spark: SparkSession, files: LakeFiles, table: Table, snapshot: CatalogueManifest) -> DataFrame:
    folder = lake.CATALOGUE(table).day(snapshot.day)
    return files.read_parquet(spark, (folder + name for name in snapshot.files), fold.schema(table))
