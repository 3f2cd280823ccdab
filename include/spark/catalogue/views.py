"""The catalogue's history: change data folded into rows that say from when to when they were true, and the views of it
that queries read, folded once for all groups of an application.

In which order changes count and since when the first of them does is :mod:`spark.catalogue.fold`'s rule; that not all
of them are read is :mod:`spark.catalogue.snapshots`' work.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import floor_day, micros
from spark.catalogue import fold, snapshots
from spark.catalogue.fold import COLUMNS, Table
from spark.lake.files import LakeFiles

_TABLES: Final[tuple[Table, ...]] = ("ads", "sellers")


def history(
    spark: SparkSession,
    files: LakeFiles,
    table: Table,
    since: datetime,
    end: datetime,
    ignored: Collection[str] = (),
) -> DataFrame:
    """One row per version that was there at some time in ``[since, end)``.

    Its columns, ``valid_from`` (which may be before ``since``) and ``valid_to`` (exclusive; a change from ``end`` on is
    not known yet). Deleted rows end, and so do all rows of a table that is truncated. ``ignored``: columns, each
    ``table.column``, that change data may have and history leaves out; any other undeclared one is refused
    (:mod:`spark.catalogue.change_data`).
    """
    changes = snapshots.changes(spark, files, table, since, end, ignored)
    versions = fold.versions(changes.rows.where(F.col("said") < micros(end))).where(
        f"op <> 'd' AND valid_from < valid_to AND valid_to > {micros(since)}"
    )
    columns = (
        fold.timestamp(f"after.{name}").alias(name) if kind == "moment" else F.col(f"after.{name}")
        for name, kind in COLUMNS[table].items()
    )
    ends = (F.timestamp_micros(name).alias(name) for name in ("valid_from", "valid_to"))
    return versions.select(*columns, *ends)


class Catalogue:
    """Histories that groups share, whichever asks first.

    :param lookback: the longest that any of the groups declares.
    :param ignored: columns that change data may have, ``table.column``.
    """

    def __init__(
        self,
        spark: SparkSession,
        files: LakeFiles,
        groups: Iterable[FeatureGroup],
        ignored: Collection[str],
    ) -> None:
        self._spark = spark
        self._files = files
        self._ignored = ignored
        self._lookback = max((group.lookback for group in groups), default=timedelta(0))
        self._locks: dict[Table, threading.Lock] = {table: threading.Lock() for table in _TABLES}
        self._folded: dict[tuple[Table, datetime, datetime], str] = {}
        self._numbers = count()

    def history(self, table: Table, start: datetime, end: datetime) -> str:
        """The global view of what was true at some time in ``[start - lookback, end)``.

        Keeps a snapshot of the first day first, so that the next hour folds no more than this one.
        """
        with self._locks[table]:
            if (table, start, end) not in self._folded:
                since = start - self._lookback
                snapshots.ensure(self._spark, self._files, table, floor_day(since), self._ignored)
                versions = history(self._spark, self._files, table, since, end, self._ignored)
                name = f"{table}_history_{next(self._numbers)}"
                # Queries read it many times, and each time would fold it.
                versions.persist().createOrReplaceGlobalTempView(name)
                self._folded[table, start, end] = f"global_temp.{name}"
            return self._folded[table, start, end]


@dataclass
class CatalogueViews:
    """One session's views of the tables that a group declares."""

    spark: SparkSession
    catalogue: Catalogue
    tables: Sequence[Table]
    _registered: tuple[datetime, datetime, timedelta] | None = field(default=None, init=False)

    @classmethod
    def for_group(cls, spark: SparkSession, catalogue: Catalogue, group: FeatureGroup) -> CatalogueViews:
        """The views that the group's queries read."""
        return cls(spark, catalogue, [table for table in _TABLES if table in group.inputs])

    def register(self, start: datetime, end: datetime, lookback: timedelta = timedelta(0)) -> None:
        """Let ``<table>_history`` be what was true at some time in ``[start - lookback, end)``."""
        # Tiles and features of one hour ask for the same.
        if self._registered == (start, end, lookback):
            return
        for table in self.tables:
            shared = self.catalogue.history(table, start, end)
            since = micros(start - lookback)
            self.spark.table(shared).where(f"unix_micros(valid_to) > {since}").createOrReplaceTempView(
                f"{table}_history"
            )
        self._registered = start, end, lookback
