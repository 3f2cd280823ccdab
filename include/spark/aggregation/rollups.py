"""Roll-ups: the sum of a day's tiles, so that windows of weeks can be derived again from few files.

A roll-up names the tiles that it adds up. When one of them was counted again, it no longer stands for its day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import RollupManifest, TileManifest
from adrank.contracts.timestamps import DAY, HOUR, floor_day
from spark.aggregation.tiles import Tiles
from spark.lake.files import in_parallel

_HOURS: int = DAY // HOUR


@dataclass(frozen=True)
class Rollups:
    """The roll-ups of one group's tiles."""

    tiles: Tiles

    @property
    def _data(self) -> lake.Daily:
        return lake.ROLLUPS(self.tiles.group.name)

    def write(self, counted: Sequence[TileManifest]) -> None:
        """Add up every whole day of ``counted`` that has no roll-up of just these tiles."""
        days = {day: tiles for day, tiles in _whole_days(counted).items() if self._valid(day, tiles) is None}
        if not days:
            return
        measures, latest = self.tiles.aggregation.measures, self.tiles.aggregation.latest
        files, data = self.tiles.files, self._data
        in_parallel(lambda day: files.withdraw(data.manifest(day), data.day(day)), days)
        summed = (
            self.tiles.read(tile for tiles in days.values() for tile in tiles)
            .groupBy((F.floor(F.col("hour_no") / _HOURS) * _HOURS).alias("hour_no"), "entity_id")
            .agg(
                *(F.sum(measure).alias(measure) for measure in measures),
                *(F.max(F.when(F.col(m) > 0, F.col("hour_no"))).alias(f"last_{m}") for m in latest),
            )
            .withColumn("dt", F.date_format(F.timestamp_seconds(F.col("hour_no") * 3600), "yyyy-MM-dd"))
            .repartition("dt")
            .sortWithinPartitions("dt", "entity_id")
        )
        files.overwrite_partitions(summed, data.prefix, "dt")

        def publish(day: datetime) -> None:
            manifest = RollupManifest(
                group=self.tiles.group.name,
                day=day,
                counts=self.tiles.fingerprint,
                tiles=tuple(tile.raw for tile in days[day]),
                files=files.parquet_files(data.day(day)),
            )
            files.write(data.manifest(day), manifest.model_dump_json(indent=2))

        in_parallel(publish, days)

    def substitute(
        self, tiles: Sequence[TileManifest], edges: Iterable[datetime]
    ) -> tuple[list[RollupManifest], list[TileManifest]]:
        """Roll-ups that stand for whole days of ``tiles``, and the other tiles. No day that an edge cuts is taken."""
        cut = {floor_day(edge) for edge in edges if edge != floor_day(edge)}
        whole = {day: of_day for day, of_day in _whole_days(tiles).items() if day not in cut}
        found = in_parallel(lambda day: self._valid(day, whole[day]), whole)
        valid = {rollup.day: rollup for rollup in found if rollup is not None}
        return list(valid.values()), [tile for tile in tiles if floor_day(tile.hour) not in valid]

    def read(self, rollups: Iterable[RollupManifest]) -> DataFrame:
        """``entity_id, hour_no`` (the day's first), the day's measures and its latest hours."""
        keys = (self._data.day(rollup.day) + file for rollup in rollups for file in rollup.files)
        latest = (f"last_{measure}" for measure in self.tiles.aggregation.latest)
        columns = ["hour_no", *self.tiles.aggregation.measures, *latest]
        schema = ", ".join(["entity_id string", *(f"{column} bigint" for column in columns)])
        return self.tiles.files.read_parquet(self.tiles.spark, keys, schema)

    def _valid(self, day: datetime, tiles: Sequence[TileManifest]) -> RollupManifest | None:
        rollup = self.tiles.files.load(self._data.manifest(day), RollupManifest)
        wanted = self.tiles.fingerprint, tuple(tile.raw for tile in tiles)
        return rollup if rollup is not None and (rollup.counts, rollup.tiles) == wanted else None


def _whole_days(tiles: Iterable[TileManifest]) -> dict[datetime, list[TileManifest]]:
    days: dict[datetime, list[TileManifest]] = defaultdict(list)
    for tile in sorted(tiles, key=lambda tile: tile.hour):
        days[floor_day(tile.hour)].append(tile)
    return {day: of_day for day, of_day in days.items() if len(of_day) == _HOURS}
