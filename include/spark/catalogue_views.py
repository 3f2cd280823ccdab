"""The catalogue's history as the views that queries read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pyspark.sql import SparkSession

from adrank.contracts import lake
from adrank.contracts.registry import FeatureGroup
from spark import catalogue_snapshots, validity
from spark.catalogue_fold import Table
from spark.lake_files import LakeFiles

_TABLES: Final[tuple[Table, ...]] = ("ads", "sellers")


@dataclass
class CatalogueViews:
    """Views of the tables that a group declares. ``ignored``: columns that change data may have, ``table.column``."""

    spark: SparkSession
    files: LakeFiles
    tables: Sequence[Table]
    ignored: Collection[str]
    _shown: tuple[datetime, datetime] | None = field(default=None, init=False)

    @classmethod
    def of(cls, spark: SparkSession, files: LakeFiles, group: FeatureGroup, ignored: Collection[str]) -> CatalogueViews:
        """The views that the group's queries read."""
        return cls(spark, files, [table for table in _TABLES if table in group.inputs], ignored)

    def show(self, since: datetime, end: datetime) -> None:
        """Let ``<table>_history`` be what was true at some time in ``[since, end)``.

        Keeps a snapshot of the day of ``since`` first, so that the next hour folds no more than this one.
        """
        # Tiles and features of one hour ask for the same.
        if self._shown == (since, end):
            return
        for table in self.tables:
            catalogue_snapshots.keep(self.spark, self.files, table, lake.floor_day(since), self.ignored)
            known = validity.history(self.spark, self.files, table, since, end, self.ignored)
            # A query reads it several times, and each time would fold it.
            known.persist().createOrReplaceTempView(f"{table}_history")
        self._shown = since, end
