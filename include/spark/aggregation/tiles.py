"""Tiles: what a feature group counted in one hour of the raw log, once and for all windows that ever hold the hour.

A tile is computed again only when its raw hour was revised or when what is counted changed, so an hour of features
reads one raw hour, whatever its windows.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest, TileManifest
from adrank.contracts.registry import Aggregation, FeatureGroup
from adrank.contracts.timestamps import HOUR
from spark.aggregation.event_views import EventLog
from spark.catalogue.views import CatalogueViews
from spark.lake.files import LakeFiles, in_parallel

_REVISION: Final = "rev="


class NoAggregationError(RuntimeError):
    """A group that counts nothing has no tiles."""


@dataclass(frozen=True)
class Tiles:
    """The tiles of one group. ``sql`` is its tile query, which reads the views of ``events`` and of ``catalogue``."""

    spark: SparkSession
    files: LakeFiles
    group: FeatureGroup
    sql: str
    catalogue: CatalogueViews
    events: EventLog

    @property
    def aggregation(self) -> Aggregation:
        """What is counted."""
        if self.group.aggregation is None:
            raise NoAggregationError(f"group {self.group.name} counts nothing")
        return self.group.aggregation

    @property
    def fingerprint(self) -> str:
        """Of what is counted, and how."""
        return hashlib.sha256(f"{self.aggregation.fingerprint}\n{self.sql}".encode()).hexdigest()

    def get_or_compute(self, raws: Sequence[RawManifest]) -> list[TileManifest]:
        """The tiles of these raw hours, in order; computes those that are not there yet."""
        found = dict(zip((raw.hour for raw in raws), in_parallel(self._find, raws), strict=True))
        missing = [raw for raw in raws if found[raw.hour] is None]
        if missing:
            found |= self._compute(missing)
        return [tile for tile in found.values() if tile is not None]

    def newest(self, hour: datetime) -> TileManifest | None:
        """The tile of the newest revision of an hour; None where there is none of this aggregation."""
        for revision in reversed(self.files.names(lake.TILES(self.group.name).hour(hour))):
            key = lake.TILES(self.group.name).hour(hour) + revision + "/" + lake.MANIFEST
            if revision.startswith(_REVISION) and self.files.exists(key):
                tile = TileManifest.model_validate_json(self.files.read(key))
                return tile if tile.counts == self.fingerprint else None
        return None

    def read(self, tiles: Iterable[TileManifest]) -> DataFrame:
        """``hour_no, entity_id`` and the measures, of these tiles."""
        paths = [
            self.files.uri(f"{lake.TILES(self.group.name).hour(tile.hour)}{name}")
            for tile in tiles
            for name in tile.files
        ]
        schema = ", ".join(["hour_no bigint", "entity_id string", *(f"{m} bigint" for m in self.aggregation.measures)])
        return self.spark.read.schema(schema).parquet(*paths) if paths else self.spark.createDataFrame([], schema)

    def _find(self, raw: RawManifest) -> TileManifest | None:
        key = lake.TILES(self.group.name).manifest(raw.hour, raw.revision)
        if not self.files.exists(key):
            return None
        tile = TileManifest.model_validate_json(self.files.read(key))
        return tile if (tile.counts, tile.raw) == (self.fingerprint, raw.digest) else None

    def _compute(self, raws: Sequence[RawManifest]) -> dict[datetime, TileManifest]:
        name = self.group.name
        attempt = f"attempt={uuid.uuid4().hex}"
        # In this order: a group beside it that reads no events folds the catalogue meanwhile.
        self.events.register(self.spark, raws)
        self.catalogue.register(raws[0].hour, raws[-1].hour + HOUR)
        revisions = ", ".join(f"({int(raw.hour.timestamp()) // 3600}, '{raw.revision:03d}')" for raw in raws)
        stamps = self.spark.sql(f"SELECT * FROM VALUES {revisions} AS stamps(hour_no, rev)")  # noqa: S608
        hour = F.timestamp_seconds(F.col("hour_no") * 3600)
        counted = (
            self.spark.sql(self.sql)
            .join(F.broadcast(stamps), "hour_no")
            .select(
                F.col("hour_no").cast("bigint").alias("hour_no"),
                "entity_id",
                *(F.col(measure).cast("bigint").alias(measure) for measure in self.aggregation.measures),
                F.date_format(hour, "yyyy-MM-dd").alias("dt"),
                F.date_format(hour, "HH").alias("hr"),
                "rev",
                F.lit(attempt.removeprefix("attempt=")).alias("attempt"),
            )
            .repartition("dt", "hr")
            .sortWithinPartitions("dt", "hr", "entity_id")
        )
        # Two steps may count one hour at once, the one that it leaves and the one that derives windows from it. They
        # count the same, each in a folder of its own.
        self.files.overwrite_partitions(counted, lake.TILES(name).prefix, "dt", "hr", "rev", "attempt")

        def publish(raw: RawManifest) -> TileManifest:
            folder = lake.TILES(name).revision(raw.hour, raw.revision)
            inside = f"{folder.removeprefix(lake.TILES(name).hour(raw.hour))}{attempt}/"
            found = self.files.parquet_files(f"{folder}{attempt}/")
            named = tuple(inside + file for file in found)
            tile = TileManifest(group=name, hour=raw.hour, counts=self.fingerprint, raw=raw.digest, files=named)
            self.files.write(folder + lake.MANIFEST, tile.model_dump_json(indent=2))
            return tile

        return {tile.hour: tile for tile in in_parallel(publish, raws)}
