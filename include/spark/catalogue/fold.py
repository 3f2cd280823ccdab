"""The fold of change data: each key's changes in their order, and since when and until when each of them held.

**Order.** Positions of one database log (``source.name``, ``source.lsn``) are in commit order, times need not be: a
row's change counts from its own time, but never before a change of that row that the log has earlier. Where logs
meet, or in bulk-landed history, which has none, times decide, then positions. A change that was delivered twice is
between itself and itself, so no version at all.

**The beginning.** A snapshot does not say since when its rows were as they are. A row that history first meets in one
is true from its creation, or from the beginning where that is unknown too.

**Changes** are rows of ``key, log, lsn, said, op, valid_from, after``, times in microseconds. A *compacted* one comes
out of an earlier fold: its ``valid_from`` is known and ``said`` is since when it counts. It stands for all of its key
that its log has before it; of a truncation (``op = 't'``, no key) it has been applied to every compacted key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts.timestamps import micros
from spark.catalogue import change_data
from spark.catalogue.change_data import ColumnType

Table = Literal["ads", "sellers"]
COLUMNS: Final[Mapping[Table, Mapping[str, ColumnType]]] = {
    "ads": {
        "ad_id": "text",
        "seller_id": "text",
        "category": "text",
        "title": "text",
        "price": "number",
        "created_at": "moment",
        "image_quality_score": "number",
        "updated_at": "moment",
    },
    "sellers": {"seller_id": "text", "created_at": "moment", "updated_at": "moment"},
}
_KEYS: Final[Mapping[Table, str]] = {"ads": "ad_id", "sellers": "seller_id"}
_COMPACTED: Final = "valid_from IS NOT NULL"


FOREVER: Final = micros(datetime(9999, 12, 31, tzinfo=UTC))


def schema(table: Table) -> str:
    """Columns of changes."""
    row = change_data.row_type(COLUMNS[table])
    return f"key string, log string, lsn bigint, said bigint, op string, valid_from bigint, after {row}"


def changes(envelopes: DataFrame, table: Table) -> DataFrame:
    """Changes, none of them compacted, from Debezium's envelopes."""
    key = _KEYS[table]
    committed = F.coalesce("source.ts_us", F.col("source.ts_ms") * 1000)
    return envelopes.select(
        F.when(F.col("op") != "t", F.coalesce(f"after.{key}", f"before.{key}")).alias("key"),
        F.col("source.name").alias("log"),
        F.coalesce("source.lsn", F.lit(0)).alias("lsn"),
        F.coalesce("change_us", committed, F.col("ts_ms") * 1000).alias("said"),
        "op",
        F.lit(None).cast("bigint").alias("valid_from"),
        "after",
    )


class Changes(NamedTuple):
    """Changes of rows. ``truncations``: those of the whole table; each is among ``rows`` as deletions already."""

    rows: DataFrame
    truncations: DataFrame | None


def expand_truncations(changes: DataFrame) -> Changes:
    """A truncation becomes the deletion of every row that history knows; a compacted one, of those that came since."""
    rows, truncations = changes.where("op <> 't'"), changes.where("op = 't'")
    keys = rows.groupBy("key").agg(F.bool_or(F.expr(_COMPACTED)).alias("has_compacted"))
    deletions = (
        truncations.drop("key")
        .crossJoin(keys)
        .where(f"NOT (has_compacted AND {_COMPACTED})")
        .withColumn("op", F.lit("d"))
        .withColumn("valid_from", F.lit(None).cast("bigint"))
        .drop("has_compacted")
    )
    return Changes(rows.unionByName(deletions), truncations)


def precedes_compacted(changes: DataFrame, day: datetime) -> bool:
    """Whether a change belongs before a compacted one of its row, which no longer says what was there then.

    :param day: before which the compacted ones count.
    """
    compacted = changes.where(_COMPACTED).select("key", F.col("log").alias("its_log"), F.col("lsn").alias("its_lsn"))
    later = changes.where("valid_from IS NULL").select("key", "log", "lsn", "said")
    before = _counts_before(day) | ((F.col("log") == F.col("its_log")) & (F.col("lsn") <= F.col("its_lsn")))
    return not later.join(compacted, "key").where(before).isEmpty()


def versions(changes: DataFrame) -> DataFrame:
    """``key, log, lsn, op, after`` with ``since`` when each counts, its ``place`` in the row's order, from 1 on, and
    ``valid_from``, ``valid_to`` (exclusive).
    """
    in_the_log = Window.partitionBy("key", "log").orderBy("position", "lsn")
    in_order = Window.partitionBy("key").orderBy("since", F.col("log").asc_nulls_first(), "position", "lsn")
    created = F.coalesce(F.unix_micros(timestamp("after.created_at")), F.lit(0))
    from_when = F.when((F.col("place") == 1) & (F.col("op") == "r"), F.least("since", created)).otherwise(
        F.col("since")
    )
    return (
        # One shuffle serves both windows.
        changes.repartition("key")
        # Without a log there is no position to trust before the time.
        .withColumn("position", F.when(F.col("log").isNull(), F.col("said")).otherwise(0))
        .withColumn("since", F.max("said").over(in_the_log))
        .withColumns({"place": F.row_number().over(in_order), "next": F.lead("since").over(in_order)})
        .withColumn("valid_to", F.coalesce("next", F.lit(FOREVER)))
        .withColumn("valid_from", F.coalesce("valid_from", from_when))
        .select("key", "log", "lsn", "op", "after", "since", "place", "valid_from", "valid_to")
    )


def compacted(changes: Changes, day: datetime) -> DataFrame:
    """The changes that stand for all of these once ``day`` has begun: the last ones of each row in each log.

    What is said for later than that stays as it is.
    """
    names = changes.rows.columns
    newest = Window.partitionBy("key", "log").orderBy(F.desc("place"))
    last = (
        versions(changes.rows.where(_counts_before(day)))
        .withColumn("age", F.row_number().over(newest))
        .where("age = 1")
        .withColumn("said", F.col("since"))
        .select(names)
    )
    if changes.truncations is not None:
        marked = changes.truncations.withColumn("valid_from", F.when(_counts_before(day), F.col("said")))
        last = last.unionByName(marked)
    return last.unionByName(changes.rows.where(~_counts_before(day)))


def _counts_before(moment: datetime) -> Column:
    return F.col("said") < micros(moment)


def timestamp(name: str) -> Column:
    """A moment as a timestamp."""
    text = F.col(name)
    number = F.timestamp_micros(text.try_cast("bigint"))
    return F.when(text.rlike("^-?[0-9]+$"), number).otherwise(text.cast("timestamp"))
