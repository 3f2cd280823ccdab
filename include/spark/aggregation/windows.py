"""Windows: sums of tiles, carried from hour to hour by adding the tile that enters and taking away the one that leaves.

Whole numbers, so the result is exactly the sum over the window's tiles, and can be rebuilt from them. The windows
at the end of the last hour computed are saved for the next one; they are a cache, and one that is missing or outdated
costs no more than the time to rebuild it from roll-ups and tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest, TileManifest, WindowManifest
from adrank.contracts.registry import Aggregation
from spark.aggregation.rollups import Rollups
from spark.aggregation.tiles import Tiles

#: How long saved windows stay: longer than late events may make anybody go back.
_MAX_AGE: Final = timedelta(hours=100)
#: A backfill goes back further, from what it saved itself: what is younger than one may take is perhaps in use.
_MIN_UNUSED: Final = timedelta(hours=24)
#: As many of the oldest days are looked at in one go, so that what a long backfill left does not slow the hour down.
_MAX_DAYS_CLEANED: Final = 4


def raw_state(raws: Iterable[RawManifest]) -> str:
    """Digest of raw hours, in order: what saved windows must have been made from to be carried on."""
    digest = hashlib.sha256()
    for raw in raws:
        digest.update(f"{lake.hour_partition(raw.hour)} {raw.digest}\n".encode())
    return digest.hexdigest()


def load(tiles: Tiles, hour: datetime, state: str) -> DataFrame | None:
    """The windows at the end of ``hour``, if they were saved and made from this state of the raw log."""
    manifest = find(tiles, hour, state)
    if manifest is None:
        return None
    folder = lake.WINDOWS(tiles.group.name).hour(hour)
    schema = ", ".join(["entity_id string", *(f"{name} bigint" for name in columns(tiles.aggregation))])
    return tiles.files.read_parquet(tiles.spark, (folder + name for name in manifest.files), schema)


def find(tiles: Tiles, hour: datetime, state: str) -> WindowManifest | None:
    """Like :func:`load`, but only the manifest."""
    manifest = tiles.files.load(lake.WINDOWS(tiles.group.name).manifest(hour), WindowManifest)
    return manifest if manifest is not None and (manifest.counts, manifest.raw) == (tiles.fingerprint, state) else None


def save(tiles: Tiles, changed: DataFrame, hour: datetime, state: str) -> None:
    """Save the windows at the end of ``hour``, the last one of ``changed``, and drop those nobody will go back to."""
    name, files = tiles.group.name, tiles.files
    data = lake.WINDOWS(name)
    folder = data.hour(hour)
    files.withdraw(folder + lake.MANIFEST, folder)
    ended = (
        changed.where("next IS NULL").where(_any(tiles.aggregation)).select("entity_id", *columns(tiles.aggregation))
    )
    (
        ended.write.mode("overwrite")
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .parquet(files.uri(folder))
    )
    named = files.parquet_files(folder)
    manifest = WindowManifest(group=name, hour=hour, counts=tiles.fingerprint, raw=state, files=named)
    files.write(folder + lake.MANIFEST, manifest.model_dump_json(indent=2))
    last_day = f"dt={hour - _MAX_AGE:%Y-%m-%d}"
    unused_since = datetime.now(UTC) - _MIN_UNUSED
    for day in files.names(data.prefix)[:_MAX_DAYS_CLEANED]:
        if day < last_day and (files.last_written(data.prefix + day) or unused_since) <= unused_since:
            files.delete(data.prefix + day)


def rebuild(tiles: Tiles, rollups: Rollups, added: Sequence[TileManifest], end: datetime) -> DataFrame:
    """The windows as they stand at ``end``, added up anew from the tiles ``added`` of all hours of the longest one."""
    days, rest = rollups.substitute(
        added, [end - timedelta(hours=hours) for hours in tiles.aggregation.windows.values()]
    )
    sources = rollups.read(days).unionByName(
        tiles.read(rest).select(
            "entity_id",
            "hour_no",
            *tiles.aggregation.measures,
            *(_seen(measure).alias(f"last_{measure}") for measure in tiles.aggregation.latest),
        )
    )
    last = _number(end)
    sums = [
        F.sum(F.when(F.col("hour_no") >= last - hours, F.col(measure)).otherwise(0)).alias(name)
        for name, measure, hours in tiles.aggregation.sums
    ]
    latest = [F.max(f"last_{measure}").alias(f"last_{measure}") for measure in tiles.aggregation.latest]
    return sources.groupBy("entity_id").agg(*sums, *latest)


def change_points(
    tiles: Tiles, before: DataFrame, entering: Sequence[TileManifest], leaving: Mapping[int, Sequence[TileManifest]]
) -> DataFrame:
    """Where windows change: ``entity_id, hour_no``, the sums and latest hours from that hour on, and ``next`` change.

    :param before: the windows before the first of the hours that ``entering`` are the tiles of.
    :param leaving: for each window's length in hours, the tiles that leave it during these hours.
    """
    aggregation, latest = tiles.aggregation, [f"last_{measure}" for measure in tiles.aggregation.latest]
    # As text: a column built by calls is a dozen questions to the JVM, and there are hundreds of columns.
    changes = [
        before.selectExpr("entity_id", f"{_number(entering[0].hour)}L AS hour_no", *columns(aggregation)),
        tiles.read(entering).selectExpr(
            "entity_id",
            "hour_no",
            *(f"{measure} AS {name}" for name, measure, _ in aggregation.sums),
            *(f"CASE WHEN {measure} > 0 THEN hour_no END AS last_{measure}" for measure in aggregation.latest),
        ),
    ]
    for length, gone in leaving.items():
        if gone:
            sums = ((name, f"-{measure}" if hours == length else "0L") for name, measure, hours in aggregation.sums)
            changes.append(
                tiles.read(gone).selectExpr(
                    "entity_id",
                    f"hour_no + {length} AS hour_no",
                    *(f"{value} AS {name}" for name, value in sums),
                    *(f"CAST(NULL AS BIGINT) AS {name}" for name in latest),
                )
            )
    per_hour = (
        reduce(DataFrame.union, changes)
        .repartition("entity_id")
        .groupBy("entity_id", "hour_no")
        .agg(
            *(F.expr(f"sum({name}) AS {name}") for name, _, _ in aggregation.sums),
            *(F.expr(f"max({name}) AS {name}") for name in latest),
        )
    )
    of_entity = "PARTITION BY entity_id ORDER BY hour_no"
    so_far = f"{of_entity} ROWS UNBOUNDED PRECEDING"
    return per_hour.selectExpr(
        "entity_id",
        "hour_no",
        *(f"sum({name}) OVER ({so_far}) AS {name}" for name, _, _ in aggregation.sums),
        *(f"max({name}) OVER ({so_far}) AS {name}" for name in latest),
        f"lead(hour_no) OVER ({of_entity}) AS next",
    )


def per_hour(tiles: Tiles, changed: DataFrame, end: datetime) -> DataFrame:
    """One row per entity and hour up to ``end`` in which any window holds anything: what a group's query sees."""
    longest = max(tiles.aggregation.windows.values())
    latest = (
        f"CASE WHEN hour_no - last_{measure} < {longest} THEN last_{measure} END AS last_{measure}"
        for measure in tiles.aggregation.latest
    )
    every = f"explode(sequence(hour_no, coalesce(next, {_number(end)}L) - 1)) AS hour_no"
    filled = changed.where(_any(tiles.aggregation)).selectExpr(every, "entity_id", *columns(tiles.aggregation))
    return filled.selectExpr("hour_no", "entity_id", *(name for name, _, _ in tiles.aggregation.sums), *latest)


def columns(aggregation: Aggregation) -> tuple[str, ...]:
    """Names of what windows hold of an entity."""
    return (*(name for name, _, _ in aggregation.sums), *(f"last_{measure}" for measure in aggregation.latest))


def _any(aggregation: Aggregation) -> str:
    return " OR ".join(f"{name} <> 0" for name, _, _ in aggregation.sums)


def _seen(measure: str) -> Column:
    return F.when(F.col(measure) > 0, F.col("hour_no"))


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600
