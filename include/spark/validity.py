"""Change data as history: Debezium envelopes folded into rows that say from when to when they were true.

In which order changes count and since when the first of them does is :mod:`spark.catalogue_fold`'s rule; that not all
of them are read is :mod:`spark.catalogue_snapshots`' work.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark import catalogue_fold, catalogue_snapshots
from spark.catalogue_fold import COLUMNS, Table
from spark.lake_files import LakeFiles


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
    (:mod:`spark.cdc_log`).
    """
    changes = catalogue_snapshots.changes(spark, files, table, since, end, ignored)
    versions = catalogue_fold.in_order(changes.rows.where(F.col("said") < catalogue_fold.micros(end))).where(
        f"op <> 'd' AND valid_from < valid_to AND valid_to > {catalogue_fold.micros(since)}"
    )
    columns = (
        catalogue_fold.timestamp(f"after.{name}").alias(name) if kind == "moment" else F.col(f"after.{name}")
        for name, kind in COLUMNS[table].items()
    )
    ends = (F.timestamp_micros(name).alias(name) for name in ("valid_from", "valid_to"))
    return versions.select(*columns, *ends)
