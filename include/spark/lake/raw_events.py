"""The raw log: closed hours in their current revision, each event of an hour once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import RawManifest
from adrank.storage import watermarks
from spark.lake.files import LakeFiles, in_parallel

_STORED: Final = (
    "event_id string, event_type string, event_time timestamp, user_id string, ad_id string, position int, "
    "revenue double"
)
_EVENTS: Final = f"{_STORED}, hour_no bigint"


class HourNotReadyError(RuntimeError):
    """A raw hour that is needed has no manifest."""


class RawHourTornError(RuntimeError):
    """A raw hour does not hold what its manifest says."""


def closed_hours(files: LakeFiles, start: datetime, end: datetime) -> list[RawManifest]:
    """Current manifests of the raw hours in ``[start, end)``, in order; none of those before the log began.

    :raises HourNotReadyError: an hour is not closed, or missing from the middle of the log.
    """
    first = watermarks.first_closed_hour(files)
    hours = [hour for hour in timestamps.hours(start, end) if first is None or hour >= first]
    found = in_parallel(lambda hour: files.load(lake.RAW_EVENTS.manifest(hour), RawManifest), hours)
    missing = [hour for hour, manifest in zip(hours, found, strict=True) if manifest is None]
    if missing:
        raise HourNotReadyError(
            f"no {lake.MANIFEST} for {len(missing)} raw hour(s), the first of them {missing[0].isoformat()}"
        )
    return [manifest for manifest in found if manifest is not None]


def events(spark: SparkSession, files: LakeFiles, manifests: Iterable[RawManifest]) -> DataFrame:
    """Events that the manifests name, one row per ``event_id`` and hour: as stored, and ``hour_no``.

    :raises RawHourTornError: a file is missing or holds another number of rows than its manifest promises.
    """
    promised = {lake.RAW_EVENTS.hour(m.hour) + file.name: file.rows for m in manifests for file in m.files}
    if not promised:
        return spark.createDataFrame([], _EVENTS)
    exist = in_parallel(files.exists, promised)
    for key in (key for key, found in zip(promised, exist, strict=True) if not found):
        raise RawHourTornError(f"{files.uri(key)} is missing, its manifest names it")
    log = spark.read.schema(_STORED).parquet(*(files.uri(key) for key in promised))
    _require_rows(log, promised)
    row = F.struct("event_time", "event_type", "user_id", "ad_id", "position", "revenue")
    once = log.groupBy("event_id").agg(F.min(row).alias("row")).select("event_id", "row.*")
    return once.withColumn("hour_no", F.expr("unix_timestamp(event_time) DIV 3600"))


def _require_rows(log: DataFrame, promised: Mapping[str, int]) -> None:
    per_file = log.groupBy(F.col("_metadata.file_path").alias("path")).count().collect()
    root = lake.RAW_EVENTS.prefix
    held = Counter({root + row["path"].split(root, 1)[1]: row["count"] for row in per_file})
    for key, rows in promised.items():
        if held[key] != rows:
            raise RawHourTornError(f"{key} holds {held[key]} rows, its manifest says {rows}")
