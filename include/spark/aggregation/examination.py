"""How often positions are looked at, as a view: one curve for each UTC day, estimated from the log before it.

A day's curve rests on what seven days say, the last of them three days earlier: late events can no longer change these,
so a curve is the same whenever it is made. Each day's evidence is kept, and estimated only once. A day without evidence
before it has no curve: there an impression counts as looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, Final

import numpy as np
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import DAY, floor_day
from adrank.decisions.lateness import REVISION_HORIZON
from adrank.ranking import examination
from adrank.ranking.examination import Evidence
from spark.lake import raw_events
from spark.lake.files import LakeFiles, in_parallel

_DAYS: Final = 7
#: Whole days, and none that late events can still reach when the curve's day begins.
_BEFORE: Final = -(-REVISION_HORIZON // DAY) * DAY
_MIN_EXAMINATION: Final = 0.05
_MAX_POSITION: Final = 100
#: Ad and position pairs that one day's estimate takes; of more, a share of the ads that hashing chooses.
_MAX_PAIRS: Final = 200_000
_SCHEMA: Final = "day_no bigint, position int, ppm bigint"


def view(spark: SparkSession, files: LakeFiles, hours: Iterable[datetime]) -> DataFrame:
    """``day_no, position, ppm`` on the days of ``hours``: examination relative to the first position, in millionths."""
    days = sorted({floor_day(hour) for hour in hours})
    by_day = _evidence(spark, files, sorted({past for day in days for past in _rests_on(day)}))
    rows = []
    for day in days:
        evidence = [of_day for past in _rests_on(day) if (of_day := by_day.get(past)) is not None]
        if evidence:
            curve = examination.curve(examination.together(evidence), _MIN_EXAMINATION)
            ppm = np.rint(curve * 1_000_000).astype(int).tolist()
            rows += list(zip(repeat(int(day.timestamp()) // 86400), range(1, len(ppm) + 1), ppm, strict=False))
    return spark.createDataFrame(rows, _SCHEMA)


def _rests_on(day: datetime) -> list[datetime]:
    return [day - _BEFORE - DAY * number for number in range(_DAYS)]


def _evidence(spark: SparkSession, files: LakeFiles, days: Sequence[datetime]) -> dict[datetime, Evidence | None]:
    loaded = in_parallel(lambda day: _load(files, day), days)
    by_day = {day: evidence for day, (exists, evidence) in zip(days, loaded, strict=True) if exists}
    missing = [day for day in days if day not in by_day]
    closed = dict(zip(missing, in_parallel(lambda day: _closed(files, day), missing), strict=True))
    whole = {day: raws for day, raws in closed.items() if raws}
    for day, evidence in _estimated(spark, files, whole).items():
        body = None if evidence is None else {name: column.tolist() for name, column in evidence._asdict().items()}
        files.write(lake.EXAMINATION.key(day), json.dumps(body))
        by_day[day] = evidence
    return by_day


def _load(files: LakeFiles, day: datetime) -> tuple[bool, Evidence | None]:
    key = lake.EXAMINATION.key(day)
    if not files.exists(key):
        return False, None
    body = json.loads(files.read(key))
    return True, None if body is None else Evidence(np.array(body["clicks"]), np.array(body["expected"]))


def _closed(files: LakeFiles, day: datetime) -> list[RawManifest]:
    """The day's raw hours when all of them are there; none otherwise, as before the log began."""
    keys = [lake.RAW_EVENTS.manifest(hour) for hour in timestamps.hours(day, day + DAY)]
    if not all(map(files.exists, (keys[0], keys[-1]))) or not all(map(files.exists, keys)):
        return []
    return [RawManifest.model_validate_json(files.read(key)) for key in keys]


def _estimated(
    spark: SparkSession, files: LakeFiles, days: dict[datetime, list[RawManifest]]
) -> dict[datetime, Evidence | None]:
    if not days:
        return {}
    shown = raw_events.events(spark, files, [raw for raws in days.values() for raw in raws]).where(
        F.col("ad_id").isNotNull() & F.col("position").between(1, _MAX_POSITION)
    )
    pairs = (
        shown.where("event_type IN ('impression', 'click')")
        .groupBy((F.col("hour_no") / 24).cast("bigint").alias("day_no"), "ad_id", "position")
        .agg(
            F.count_if(F.col("event_type") == "impression").alias("impressions"),
            F.count_if(F.col("event_type") == "click").alias("clicks"),
        )
    )
    # Only an ad that was seen at several positions, and clicked, tells anything.
    telling = (
        pairs.groupBy("day_no", "ad_id")
        .agg(F.sum("clicks").alias("answers"), F.count(F.lit(1)).alias("positions"))
        .where("answers > 0 AND positions > 1")
        .withColumn("share", F.lit(float(_MAX_PAIRS)) / F.sum("positions").over(Window.partitionBy("day_no")))
        .where(F.pmod(F.xxhash64("ad_id"), F.lit(1000)) < F.col("share") * 1000)
    )
    found: Any = pairs.join(telling.select("day_no", "ad_id"), ["day_no", "ad_id"]).toPandas()
    evidence: dict[datetime, Evidence | None] = {}
    for day in days:
        of_day = found[found["day_no"] == int(day.timestamp()) // 86400].sort_values(["ad_id", "position"])
        evidence[day] = None
        if len(of_day):
            ads = np.unique(of_day["ad_id"].to_numpy(), return_inverse=True)[1].astype(np.int64)
            numbers = (of_day[name].to_numpy(np.int64) for name in ("position", "impressions", "clicks"))
            evidence[day] = examination.fit(ads, *numbers)
    return evidence
