"""Compares the stored rows that requests were answered with, as the endpoints logged them, with the offline partitions.

A served row names the hour end that it was pushed for; any revision of that hour may be what was pushed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest, ServedAudit
from adrank.contracts.registry import FeatureGroup
from adrank.online.comparison import differs
from adrank.online.vectors import Matrix
from spark import feature_manifests, feature_partitions
from spark.lake_files import LakeFiles, in_parallel
from spark.sampled_rows import matrix

_SCHEMA = (
    "group string, fingerprint string, features array<string>, entities array<string>, as_of array<bigint>, "
    "reasons array<string>, rows string"
)
_ROW = "substring(unbase64(rows), place * 4 * size(features) + 1, 4 * size(features))"


@dataclass(frozen=True)
class _Served:
    entity_id: str
    as_of: int
    reason: str | None
    features: Sequence[str]
    values: Matrix


class ServedRows:
    """What the endpoints logged for the requests of one hour of event time."""

    def __init__(self, spark: SparkSession, files: LakeFiles, hour: datetime) -> None:
        self._spark = spark
        self._files = files
        self._seed = int(hour.timestamp())
        self._lines: DataFrame | None = None
        self._counts: dict[tuple[str, str], int] = {}
        prefix = lake.served(hour)
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
            .select("features", "rows", entities)
            .orderBy(order, "row.entities", "row.as_of")
            .limit(sample)
            .select("row.entities", "row.as_of", "row.reasons", "features", F.expr(_ROW).alias("packed"))
            .collect()
        )
        chosen = [_Served(row[0], row[1], row[2], row[3], np.frombuffer(row[4], dtype="<f4")[None]) for row in found]
        offline = _Offline.of(self._spark, self._files, group, [row for row in chosen if row.reason is None])
        return _compared(group, chosen, offline, ServedAudit(rows=rows, unknown=rows - readable))


@dataclass(frozen=True)
class _Offline:
    """``rows``: (entity, hour end in seconds) -> its values in each revision. ``hours``: hour ends that are there."""

    rows: Mapping[tuple[str, int], list[Matrix]]
    hours: frozenset[int]

    @classmethod
    def of(cls, spark: SparkSession, files: LakeFiles, group: FeatureGroup, served: Iterable[_Served]) -> _Offline:
        """The offline rows that ``served`` name."""
        wanted = {(row.entity_id, row.as_of) for row in served}
        if not wanted:
            return cls({}, frozenset())
        hours = [datetime.fromtimestamp(as_of, UTC) - lake.HOUR for as_of in sorted({as_of for _, as_of in wanted})]
        listed = in_parallel(lambda hour: _revisions(files, group, hour), hours)
        manifests = [manifest for revisions in listed for manifest in revisions]
        keys = F.broadcast(spark.createDataFrame(sorted(wanted), "entity_id string, seconds bigint"))
        partitions = feature_partitions.read(spark, files, group, manifests)
        found = partitions.withColumn("seconds", F.unix_timestamp("feature_time")).join(keys, ["entity_id", "seconds"])
        rows: dict[tuple[str, int], list[Matrix]] = defaultdict(list)
        for row in found.select("entity_id", "seconds", *group.names).collect():
            rows[row[0], row[1]].append(matrix([row[2:]]))
        return cls(rows, frozenset(int((manifest.hour + lake.HOUR).timestamp()) for manifest in manifests))


def _compared(group: FeatureGroup, chosen: Iterable[_Served], offline: _Offline, audit: ServedAudit) -> ServedAudit:
    place = {name: column for column, name in enumerate(group.names)}
    defaults = [matrix([[feature.default_value for feature in group.features]])]
    compared = mismatched = from_defaults = unknown = 0
    features: Counter[str] = Counter()
    for row in chosen:
        if row.reason is None and row.as_of not in offline.hours:
            unknown += 1
            continue
        # An entity that left the partition is online with the defaults.
        expected = defaults if row.reason else offline.rows.get((row.entity_id, row.as_of), defaults)
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
