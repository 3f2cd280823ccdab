"""From the raw log to the windows of a range of hours: tiles, what was saved of the hour before, and what leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import DataFrame

from adrank.contracts import timestamps
from adrank.contracts.manifests import RawManifest, TileManifest
from adrank.contracts.timestamps import HOUR, floor_day
from adrank.decisions import lateness
from spark.aggregation import windows
from spark.aggregation.rollups import Rollups
from spark.aggregation.tiles import Tiles
from spark.lake import raw_events
from spark.lake.files import in_parallel


@dataclass(frozen=True)
class WindowRange:
    """The windows of a range of hours. ``per_hour`` has one row per entity and hour."""

    per_hour: DataFrame
    _tiles: Tiles
    _change_points: DataFrame
    _last: datetime
    _state: str
    _start: datetime
    _entering: Sequence[TileManifest]

    def save(self) -> None:
        """Save the windows of the last hour for the next run, and roll up the days that are now whole."""
        windows.save(self._tiles, self._change_points, self._last, self._state)
        by_hour = {tile.hour: tile for tile in self._entering}
        if floor_day(self._start) < floor_day(self._last + HOUR):
            earlier = list(timestamps.hours(floor_day(self._start), self._start))
            by_hour |= {tile.hour: tile for tile in in_parallel(self._tiles.newest, earlier) if tile is not None}
        Rollups(self._tiles).write(list(by_hour.values()))
        self._change_points.unpersist()


def compute(tiles: Tiles, raws: Sequence[RawManifest], start: datetime, end: datetime) -> WindowRange:
    """The windows at the ends of the hours in ``[start, end)``.

    :param raws: the closed raw hours from the reach of the hour before ``start`` on (:mod:`adrank.decisions.lateness`)
        up to ``end``.
    """
    reached = lateness.horizon_start(start - HOUR)
    before = [raw for raw in raws if raw.hour < start]
    entering = tiles.get_or_compute([raw for raw in raws if start <= raw.hour < end])
    base = windows.load(tiles, start - HOUR, windows.raw_state(before))
    leaving: Mapping[int, Sequence[TileManifest]]
    if base is None:
        longest = timedelta(hours=max(tiles.aggregation.windows.values()))
        older = raw_events.closed_hours(tiles.files, start - longest, reached)
        added = tiles.get_or_compute([*older, *before])
        base = windows.rebuild(tiles, Rollups(tiles), added, start)
        by_hour = {tile.hour: tile for tile in (*added, *entering)}
        leaving = {
            hours: [by_hour[hour] for hour in _leaving(start, end, hours) if hour in by_hour]
            for hours in tiles.aggregation.windows.values()
        }
    else:
        leaving = {
            hours: _left(tiles, _leaving(start, end, hours), reached, raws)
            for hours in tiles.aggregation.windows.values()
        }
    points = windows.change_points(tiles, base, entering, leaving).persist()
    last = end - HOUR
    return WindowRange(windows.per_hour(tiles, points, end), tiles, points, last, _state(raws, last), start, entering)


def is_saved(tiles: Tiles, raws: Sequence[RawManifest], hour: datetime) -> bool:
    """Whether the windows at the end of ``hour`` are there, made from this raw log."""
    return windows.find(tiles, hour, _state(raws, hour)) is not None


def _state(raws: Sequence[RawManifest], hour: datetime) -> str:
    return windows.raw_state(raw for raw in raws if lateness.horizon_start(hour) <= raw.hour <= hour)


def _leaving(start: datetime, end: datetime, hours: int) -> list[datetime]:
    length = timedelta(hours=hours)
    return list(timestamps.hours(start - length, end - length))


def _left(
    tiles: Tiles, hours: Sequence[datetime], reached: datetime, raws: Sequence[RawManifest]
) -> list[TileManifest]:
    """The tiles of these hours. Late events reach back to ``reached``; of an older hour the newest tile is the last."""
    by_hour = {raw.hour: raw for raw in raws}
    within = [by_hour[hour] for hour in hours if hour in by_hour]
    older = [hour for hour in hours if hour < reached]
    found = dict(zip(older, in_parallel(tiles.newest, older), strict=True))
    without_tile = [
        raw for hour in older if found[hour] is None for raw in raw_events.closed_hours(tiles.files, hour, hour + HOUR)
    ]
    return [*(tile for tile in found.values() if tile is not None), *tiles.get_or_compute([*without_tile, *within])]
