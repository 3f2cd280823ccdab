"""Proves that a group's windows are what its tiles add up to: every entity and column, not a sample.

    spark-submit check_windows.py --bucket B --group G --day YYYY-MM-DD --queries s3://…/sql

Windows are carried from hour to hour and roll-ups stand for a day's tiles, so what once went wrong would stay. Looked
at are the newest windows of the day and the one after that would be carried on, and every roll-up of the days before
them that would be used: those of another definition or another state of the raw log would not, and prove nothing. Reads
only. Exits 1 naming group, entity, column and both values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.entry_points.features import CheckWindows
from adrank.contracts.manifests import TileManifest
from adrank.contracts.registry import Aggregation
from adrank.contracts.timestamps import DAY, HOUR, floor_day
from adrank.decisions import lateness
from spark.aggregation import windows
from spark.aggregation.event_views import EventLog
from spark.aggregation.rollups import Rollups
from spark.aggregation.tiles import Tiles
from spark.application.session import session
from spark.catalogue.views import Catalogue, CatalogueViews
from spark.lake import raw_events
from spark.lake.files import LakeFiles, in_parallel

_MAX_EXAMPLES: Final = 10


class NoWindowsError(RuntimeError):
    """There are no windows that would be carried on."""


class TileMissingError(RuntimeError):
    """A raw hour that windows must hold was not counted, or not in the revision that it has."""


class ComparisonResult(NamedTuple):
    """``rows`` of ``what`` were compared; ``differences`` are spelled out, the first of them only."""

    what: str
    rows: int
    wrong: int
    differences: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    args = CheckWindows.parse(argv)
    spark = session(f"check windows {args.group} {args.day:%Y-%m-%d}")
    files = LakeFiles(spark, args.bucket)
    group = registry.load().group(args.group)
    query = files.read(f"{args.queries.removeprefix(files.root)}/tiles/{group.name}.sql")
    views = CatalogueViews.for_group(spark, Catalogue(spark, files, [group], ()), group)
    tiles = Tiles(spark, files, group, query, views, EventLog(spark, files, [group]))
    compared = check(tiles, args.day)
    for found in compared:
        print(f"{args.group}: {found.rows} rows of {found.what} compared, {found.wrong} difference(s)")
    if any(found.wrong for found in compared):
        sys.exit("; ".join(line for found in compared for line in found.differences))


def check(tiles: Tiles, day: datetime) -> list[ComparisonResult]:
    """Compare the newest windows since ``day`` and the roll-ups before them with hourly tiles.

    :raises NoWindowsError: no windows since then would be carried on.
    :raises TileMissingError: an hour that they hold has no tile.
    """
    hour, saved = _newest_windows(tiles, day)
    first = hour + HOUR - timedelta(hours=max(tiles.aggregation.windows.values()))
    tiles_of_hours = _valid_tiles(tiles, first, hour + HOUR)
    sums = _window_sums(tiles.read(tiles_of_hours), tiles.aggregation, hour)
    trimmed = saved.select(
        "entity_id",
        *(name for name, _, _ in tiles.aggregation.sums),
        *(_within(f"last_{measure}", first) for measure in tiles.aggregation.latest),
    )
    name = tiles.group.name
    what = f"windows at the end of {hour:%Y-%m-%dT%H}"
    found = [_compare(f"{name}: {what}", what, trimmed, sums, ["entity_id"], windows.columns(tiles.aggregation))]
    rollups, _ = Rollups(tiles).substitute(tiles_of_hours, [])
    if rollups:
        days = {rollup.day for rollup in rollups}
        of_days = tiles.read(tile for tile in tiles_of_hours if floor_day(tile.hour) in days)
        what = f"{len(days)} roll-up(s)"
        columns = [*tiles.aggregation.measures, *(f"last_{measure}" for measure in tiles.aggregation.latest)]
        saved, sums = Rollups(tiles).read(rollups), _daily_sums(of_days, tiles.aggregation)
        found.append(_compare(f"{name}: roll-ups", what, saved, sums, ["entity_id", "hour_no"], columns))
    return found


def _newest_windows(tiles: Tiles, day: datetime) -> tuple[datetime, DataFrame]:
    """The newest windows of the day and the one after that would be carried on: late events may outdate the day's."""
    name = tiles.group.name
    hours = list(timestamps.hours(day, day + 2 * DAY))
    exist = in_parallel(lambda hour: tiles.files.exists(lake.WINDOWS(name).manifest(hour)), hours)
    saved = [hour for hour, exists in zip(hours, exist, strict=True) if exists]
    raws = raw_events.closed_hours(tiles.files, lateness.horizon_start(day), saved[-1] + HOUR) if saved else []
    for hour in reversed(saved):
        state = windows.raw_state(raw for raw in raws if lateness.horizon_start(hour) <= raw.hour <= hour)
        if (found := windows.load(tiles, hour, state)) is not None:
            return hour, found
    raise NoWindowsError(
        f"{name}: of {len(saved)} windows kept since {day:%Y-%m-%d} none would be carried on: what is counted, or the "
        "raw log, is another since"
    )


def _valid_tiles(tiles: Tiles, start: datetime, end: datetime) -> list[TileManifest]:
    raws = raw_events.closed_hours(tiles.files, start, end)
    found = in_parallel(lambda raw: tiles.newest(raw.hour), raws)
    wrong = [raw.hour for raw, tile in zip(raws, found, strict=True) if tile is None or tile.raw != raw.digest]
    if wrong:
        raise TileMissingError(
            f"{tiles.group.name}: {len(wrong)} hour(s) have no tile of the raw hour as it is, the first "
            f"{wrong[0].isoformat()}"
        )
    return [tile for tile in found if tile is not None]


def _window_sums(hourly: DataFrame, aggregation: Aggregation, hour: datetime) -> DataFrame:
    """What windows at the end of ``hour`` must hold, added up from the tiles of all their hours."""
    after = _number(hour) + 1
    sums = [
        F.sum(F.when(F.col("hour_no") >= after - hours, F.col(measure)).otherwise(0)).alias(name)
        for name, measure, hours in aggregation.sums
    ]
    some = " OR ".join(f"{name} <> 0" for name, _, _ in aggregation.sums)
    return hourly.groupBy("entity_id").agg(*sums, *_latest(aggregation)).where(some)


def _daily_sums(hourly: DataFrame, aggregation: Aggregation) -> DataFrame:
    """What roll-ups must hold."""
    day = (F.expr("hour_no DIV 24") * 24).alias("hour_no")
    return (
        hourly.withColumn("hour", F.col("hour_no"))
        .groupBy("entity_id", day)
        .agg(*(F.sum(measure).alias(measure) for measure in aggregation.measures), *_latest(aggregation, "hour"))
    )


def _latest(aggregation: Aggregation, hour: str = "hour_no") -> list[Column]:
    return [F.max(F.when(F.col(measure) > 0, F.col(hour))).alias(f"last_{measure}") for measure in aggregation.latest]


def _within(name: str, first: datetime) -> Column:
    """An hour that is older than the longest window is no longer one: nobody asks when it was."""
    return F.when(F.col(name) >= _number(first), F.col(name)).alias(name)


def _compare(
    where: str, what: str, saved: DataFrame, sums: DataFrame, keys: Sequence[str], columns: Iterable[str]
) -> ComparisonResult:
    cells = F.array(
        *(
            F.struct(
                F.lit(name).alias("column"), F.col(f"kept.{name}").alias("kept"), F.col(f"added.{name}").alias("added")
            )
            for name in columns
        )
    )
    wrong = F.filter(cells, lambda cell: ~cell["kept"].eqNullSafe(cell["added"]))
    both = saved.alias("kept").join(sums.alias("added"), list(keys), "full_outer").select(*keys, wrong.alias("wrong"))
    both = both.persist()
    rows = both.count()
    differences = both.select(*keys, F.explode("wrong").alias("cell"))
    count = differences.count()
    first = differences.orderBy(*keys, "cell.column").limit(_MAX_EXAMPLES).collect() if count else []
    both.unpersist()
    lines = [
        f"{where}, {', '.join(f'{key}={row[key]}' for key in keys)}, {row['cell']['column']}: "
        f"kept {row['cell']['kept']}, the tiles add up to {row['cell']['added']}"
        for row in first
    ]
    return ComparisonResult(what, rows, count, lines)


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600


if __name__ == "__main__":
    main()
