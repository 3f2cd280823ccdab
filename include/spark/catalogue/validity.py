"""Change data as history: Debezium envelopes folded into rows that say from when to when they were true.

In which order changes count and since when the first of them does is :mod:`spark.catalogue.fold`'s rule; that not all
of them are read is :mod:`spark.catalogue.snapshots`' work.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts.timestamps import micros
from spark.catalogue import fold, snapshots
from spark.catalogue.fold import COLUMNS, Table
from spark.lake.files import LakeFiles


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
    versions = fold.in_order(changes.rows.where(F.col("said") < micros(end))).where(
        f"op <> 'd' AND valid_from < valid_to AND valid_to > {micros(since)}"
    )
    columns = (
        fold.timestamp(f"after.{name}").alias(name) if kind == "moment" else F.col(f"after.{name}")
        for name, kind in COLUMNS[table].items()
    )
    ends = (F.timestamp_micros(name).alias(name) for name in ("valid_from", "valid_to"))
    return versions.select(*columns, *ends)
