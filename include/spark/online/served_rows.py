"""Compares the stored rows that requests were answered with, as the endpoints logged them, with the offline partitions.

A served row names the hour end that it was pushed for; any revision of that hour may be what was pushed. Who was
answered with defaults for want of a row must have none offline either, as far as it was due by the request's time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest, ServedAudit
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR, floor_hour
from adrank.online.comparison import differs
from adrank.online.vectors import Matrix
from spark.lake import feature_manifests, feature_partitions
from spark.lake.files import LakeFiles, in_parallel
from spark.online.stored_rows import matrix

_SCHEMA = (
    "group string, fingerprint string, event_time string, features array<string>, entities array<string>, "
    "as_of array<bigint>, reasons array<string>, rows string"
)
_ROW = "substring(unbase64(rows), place * 4 * size(features) + 1, 4 * size(features))"
#: Reasons for defaults that say the store held no row young enough; an outage or another layout says nothing of that.
_LACKING: Final = frozenset({"missing", "stale"})


@dataclass(frozen=True)
class _ServedRow:
    entity_id: str
    as_of: int
    reason: str | None
    event_time: datetime
    features: Sequence[str]
    values: Matrix

    def hour_ends(self, group: FeatureGroup) -> tuple[int, ...]:
        """The hours (ends, seconds) that it is held against: the one that it names; for want of a row the last that
        was due by then and the one before, for the last may still have been on its way to the store."""
        if self.reason is None:
            return (self.as_of,)
        if self.reason not in _LACKING:
            return ()
        last = int(floor_hour(self.event_time - group.lag).timestamp())
        return last - int(HOUR.total_seconds()), last


class _OfflineRow(NamedTuple):
    available_at: datetime
    values: Matrix


class ServedRows:
    """What the endpoints logged for the requests of one hour of event time."""

    def __init__(self, spark: SparkSession, files: LakeFiles, hour: datetime) -> None:
        self._spark = spark
        self._files = files
        self._seed = int(hour.timestamp())
        self._lines: DataFrame | None = None
        self._counts: dict[tuple[str, str], int] = {}
        prefix = lake.SERVED_ROWS.hour(hour)
        if files.names(prefix):
            # A broken line is an error, not a row less.
            self._lines = spark.read.schema(_SCHEMA).option("mode", "FAILFAST").json(files.uri(prefix)).cache()
            counted = self._lines.groupBy("group", "fingerprint").agg(F.sum(F.size("entities"))).collect()
            self._counts = {(row[0], row[1]): row[2] for row in counted}

    def audit(self, group: FeatureGroup, sample: int) -> ServedAudit:
        """What a sample of the rows of a group shows; nothing where none was logged."""
        rows = sum(count for (name, _), count in self._counts.items() if name == group.name)
        readable = self._counts.get((group.name, group.fingerprint), 0)
        if self._lines is None or not rows:
            return ServedAudit()
        entities = F.posexplode(F.arrays_zip("entities", "as_of", "reasons")).alias("place", "row")
        order = F.xxhash64("row.entities", "row.as_of", F.lit(self._seed))
        found = (
            self._lines.where((F.col("group") == group.name) & (F.col("fingerprint") == group.fingerprint))
            .select("event_time", "features", "rows", entities)
            .orderBy(order, "row.entities", "row.as_of")
            .limit(sample)
            .select("row.entities", "row.as_of", "row.reasons", "event_time", "features", F.expr(_ROW).alias("packed"))
            .collect()
        )
        served = [
            _ServedRow(entity, as_of, why, datetime.fromisoformat(moment), features, np.frombuffer(packed, "<f4")[None])
            for entity, as_of, why, moment, features, packed in found
        ]
        offline = _Offline.of(self._spark, self._files, group, served)
        return _compare(group, served, offline, ServedAudit(rows=rows, unknown=rows - readable))


@dataclass(frozen=True)
class _Offline:
    """``rows``: (entity, hour end in seconds) -> its row in each revision. ``hours``: hour ends that are there."""

    rows: Mapping[tuple[str, int], list[_OfflineRow]]
    hours: frozenset[int]

    @classmethod
    def of(cls, spark: SparkSession, files: LakeFiles, group: FeatureGroup, served: Iterable[_ServedRow]) -> _Offline:
        """The offline rows that ``served`` are held against."""
        wanted = {(row.entity_id, end) for row in served for end in row.hour_ends(group)}
        if not wanted:
            return cls({}, frozenset())
        hours = [datetime.fromtimestamp(end, UTC) - HOUR for end in sorted({end for _, end in wanted})]
        listed = in_parallel(lambda hour: _revisions(files, group, hour), hours)
        manifests = [manifest for revisions in listed for manifest in revisions]
        keys = F.broadcast(spark.createDataFrame(sorted(wanted), "entity_id string, seconds bigint"))
        partitions = feature_partitions.read(spark, files, group, manifests)
        found = partitions.withColumn("seconds", F.unix_timestamp("feature_time")).join(keys, ["entity_id", "seconds"])
        rows: dict[tuple[str, int], list[_OfflineRow]] = defaultdict(list)
        available = F.unix_timestamp("available_at")
        for row in found.select("entity_id", "seconds", available, *group.names).collect():
            rows[row[0], row[1]].append(_OfflineRow(datetime.fromtimestamp(row[2], UTC), matrix([row[3:]])))
        return cls(rows, frozenset(int((manifest.hour + HOUR).timestamp()) for manifest in manifests))

    def of_served(self, group: FeatureGroup, row: _ServedRow) -> list[Matrix]:
        """The values that it may have been served with; none where the registry's defaults are right."""
        found = [self.rows.get((row.entity_id, end), []) for end in row.hour_ends(group)]
        if row.reason is not None:
            found = [[one for one in rows if one.available_at <= row.event_time] for rows in found]
        return [one.values for one in found[-1]] if found and all(found) else []


def _compare(group: FeatureGroup, served: Iterable[_ServedRow], offline: _Offline, audit: ServedAudit) -> ServedAudit:
    place = {name: column for column, name in enumerate(group.names)}
    defaults = [matrix([[feature.default_value for feature in group.features]])]
    compared = mismatched = from_defaults = unknown = 0
    features: Counter[str] = Counter()
    for row in served:
        if row.reason is None and row.as_of not in offline.hours:
            unknown += 1
            continue
        # An entity that left the partition is online with the defaults.
        expected = offline.of_served(group, row) or defaults
        columns = [place[name] for name in row.features]
        wrong = min((differs(one[:, columns], row.values)[0] for one in expected), key=lambda mask: int(mask.sum()))
        compared += 1
        from_defaults += row.reason is not None
        mismatched += bool(wrong.any())
        features.update(name for name, differing in zip(row.features, wrong, strict=True) if differing)
    return audit.model_copy(
        update={
            "compared": compared,
            "mismatched": mismatched,
            "defaults": from_defaults,
            "unknown": audit.unknown + unknown,
            "features": dict(features.most_common()),
        }
    )


def _revisions(files: LakeFiles, group: FeatureGroup, hour: datetime) -> list[FeatureManifest]:
    found = [
        feature_manifests.revision_of(files, group, hour, revision)
        for revision in feature_manifests.revisions(files, group, hour)
    ]
    return [manifest for manifest in found if manifest is not None and manifest.fingerprint == group.fingerprint]
