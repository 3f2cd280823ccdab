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
    def _data(self) -> lake.Revisioned:
        return lake.TILES(self.group.name)

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
        folder = self._data.hour(hour)
        names = (name for name in self.files.names(folder) if name.startswith(_REVISION))
        for revision in sorted(names, reverse=True):
            if tile := self.files.load(f"{folder}{revision}/{lake.MANIFEST}", TileManifest):
                return tile if tile.counts == self.fingerprint else None
        return None

    def read(self, tiles: Iterable[TileManifest]) -> DataFrame:
        """``hour_no, entity_id`` and the measures, of these tiles."""
        keys = (self._data.hour(tile.hour) + name for tile in tiles for name in tile.files)
        schema = ", ".join(["hour_no bigint", "entity_id string", *(f"{m} bigint" for m in self.aggregation.measures)])
        return self.files.read_parquet(self.spark, keys, schema)

    def _find(self, raw: RawManifest) -> TileManifest | None:
        tile = self.files.load(self._data.manifest(raw.hour, raw.revision), TileManifest)
        return tile if tile is not None and (tile.counts, tile.raw) == (self.fingerprint, raw.digest) else None

    def _compute(self, raws: Sequence[RawManifest]) -> dict[datetime, TileManifest]:
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
        self.files.overwrite_partitions(counted, self._data.prefix, "dt", "hr", "rev", "attempt")

        def publish(raw: RawManifest) -> TileManifest:
            folder = f"{self._data.revision(raw.hour, raw.revision)}{attempt}/"
            inside = folder.removeprefix(self._data.hour(raw.hour))
            tile = TileManifest(
                group=self.group.name,
                hour=raw.hour,
                counts=self.fingerprint,
                raw=raw.digest,
                files=tuple(inside + file for file in self.files.parquet_files(folder)),
            )
            self.files.write(self._data.manifest(raw.hour, raw.revision), tile.model_dump_json(indent=2))
            return tile

        return {tile.hour: tile for tile in in_parallel(publish, raws)}
