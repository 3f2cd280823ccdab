"""Change data as history: Debezium envelopes folded into rows that say from when to when they were true."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from spark.lake_files import LakeFiles

Table = Literal["ads", "sellers"]
_ROWS: Final[dict[Table, str]] = {
    "ads": (
        "ad_id string, seller_id string, category string, price double, created_at bigint, image_quality_score double"
    ),
    "sellers": "seller_id string, created_at bigint",
}
_KEYS: Final[dict[Table, str]] = {"ads": "ad_id", "sellers": "seller_id"}
_FOREVER: Final = "9999-12-31 00:00:00"


def history(spark: SparkSession, files: LakeFiles, table: Table, end: datetime) -> DataFrame:
    """One row per version that was there before ``end``: its columns, ``valid_from`` and ``valid_to`` (exclusive).

    Deleted rows end; the order within one millisecond is that of the log (``lsn``).
    """
    row, key = _ROWS[table], _KEYS[table]
    envelope = f"op string, ts_ms bigint, before struct<{row}>, after struct<{row}>, source struct<lsn: bigint>"
    prefix = f"raw/cdc/{table}/"
    if files.exists(prefix):
        changes = spark.read.schema(envelope).option("mode", "FAILFAST").json(files.uri(prefix))
    else:
        changes = spark.createDataFrame([], envelope)
    ordered = Window.partitionBy("key").orderBy("ts_ms", "lsn")
    versions = (
        changes.where(F.col("ts_ms") < int(end.timestamp() * 1000))
        .select(
            F.coalesce(f"after.{key}", f"before.{key}").alias("key"),
            "op",
            "ts_ms",
            F.coalesce("source.lsn", F.lit(0)).alias("lsn"),
            "after",
        )
        .withColumn("valid_from", F.timestamp_millis("ts_ms"))
        .withColumn("valid_to", F.coalesce(F.lead("valid_from").over(ordered), F.lit(_FOREVER).cast("timestamp")))
        .where("op <> 'd' AND valid_from < valid_to")
    )
    return versions.select("after.*", "valid_from", "valid_to").withColumn(
        "created_at", F.timestamp_micros("created_at")
    )
