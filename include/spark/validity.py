"""Change data as history: Debezium envelopes folded into rows that say from when to when they were true.

**Order.** Positions of one database log (``source.name``, ``source.lsn``) are in commit order, times need not be: a
row's change counts from its own time, but never before a change of that row that the log has earlier. Where logs
meet, or in bulk-landed history, which has none, times decide, then positions. A change that was delivered twice is
between itself and itself, so no version at all.

**The beginning.** A snapshot does not say since when its rows were as they are. A row that history first meets in one
is true from its creation, or from the beginning where that is unknown too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, Literal

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from spark import cdc_log
from spark.cdc_log import Kind
from spark.lake_files import LakeFiles

Table = Literal["ads", "sellers"]
_COLUMNS: Final[Mapping[Table, Mapping[str, Kind]]] = {
    "ads": {
        "ad_id": "text",
        "seller_id": "text",
        "category": "text",
        "price": "number",
        "created_at": "moment",
        "image_quality_score": "number",
        "updated_at": "moment",
    },
    "sellers": {"seller_id": "text", "created_at": "moment", "updated_at": "moment"},
}
_KEYS: Final[Mapping[Table, str]] = {"ads": "ad_id", "sellers": "seller_id"}
_BEGINNING: Final = "1970-01-01 00:00:00"
_FOREVER: Final = "9999-12-31 00:00:00"


def history(
    spark: SparkSession, files: LakeFiles, table: Table, end: datetime, ignored: Collection[str] = ()
) -> DataFrame:
    """One row per version that was there before ``end``: its columns, ``valid_from`` and ``valid_to`` (exclusive).

    Deleted rows end, and so do all rows of a table that is truncated. ``ignored``: columns, each ``table.column``,
    that change data may have and history leaves out; any other undeclared one is refused (:mod:`spark.cdc_log`).
    """
    log = cdc_log.read(spark, files, table, end, _COLUMNS[table], ignored)
    changes = _changes(log.envelopes, _KEYS[table]).where(F.col("said") < int(end.timestamp() * 1_000_000))
    if "t" in log.operations:
        changes = _each_row(changes)
    # Without a log there is no position to trust before the time.
    position = (F.when(F.col("log").isNull(), F.col("said")).otherwise(0), F.col("lsn"))
    in_the_log = Window.partitionBy("key", "log").orderBy(*position)
    changes = changes.withColumn("since", F.max("said").over(in_the_log))
    in_order = Window.partitionBy("key").orderBy("since", F.col("log").asc_nulls_first(), *position)
    versions = (
        changes.withColumn("created", _timestamp("after.created_at"))
        .withColumn("first", F.row_number().over(in_order) == 1)
        .withColumn("valid_to", F.coalesce(F.timestamp_micros(F.lead("since").over(in_order)), _constant(_FOREVER)))
        .withColumn("valid_from", F.timestamp_micros("since"))
        .withColumn(
            "valid_from",
            F.when(
                F.col("first") & (F.col("op") == "r"),
                F.least("valid_from", F.coalesce("created", _constant(_BEGINNING))),
            ).otherwise(F.col("valid_from")),
        )
        .where("op <> 'd' AND valid_from < valid_to")
    )
    columns = (
        _timestamp(f"after.{name}").alias(name) if kind == "moment" else F.col(f"after.{name}")
        for name, kind in _COLUMNS[table].items()
    )
    return versions.select(*columns, "valid_from", "valid_to")


def _changes(landed: DataFrame, key: str) -> DataFrame:
    """``key, op, said`` (the change's time in microseconds), ``log, lsn, after``."""
    committed = F.coalesce("source.ts_us", F.col("source.ts_ms") * 1000)
    return landed.select(
        F.coalesce(f"after.{key}", f"before.{key}").alias("key"),
        "op",
        F.coalesce("change_us", committed, F.col("ts_ms") * 1000).alias("said"),
        F.col("source.name").alias("log"),
        F.coalesce("source.lsn", F.lit(0)).alias("lsn"),
        "after",
    )


def _each_row(changes: DataFrame) -> DataFrame:
    """A truncation becomes the deletion of every row that history knows."""
    truncated = changes.where("op = 't'").drop("key")
    keys = changes.where("op <> 't'").select("key").distinct()
    deletions = keys.crossJoin(truncated).withColumn("op", F.lit("d"))
    return changes.where("op <> 't'").unionByName(deletions)


def _timestamp(name: str) -> Column:
    spelled = F.col(name)
    micros = F.timestamp_micros(spelled.try_cast("bigint"))
    return F.when(spelled.rlike("^-?[0-9]+$"), micros).otherwise(spelled.cast("timestamp"))


def _constant(spelled: str) -> Column:
    return F.lit(spelled).cast("timestamp")
