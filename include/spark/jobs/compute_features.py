"""Computes feature groups for whole hours, side by side in one application: one chunk of a backfill, one SQL a group.

    spark-submit compute_features.py --bucket B --group G [--group G …] --start ISO --end ISO --queries s3://…/sql
        [--recompute false] [--ignored-column TABLE.COLUMN] [--owner NAME]

A group that counts events first counts each raw hour once (``<queries>/tiles/G.sql``) and carries its windows on from
the hour before. Its query (``<queries>/features/G.sql``) then sees ``windows``, the views of its other declared
inputs (``ads_history`` and ``sellers_history`` with ``valid_from``/``valid_to``, as far back as it declares) and
``hours`` (``hour_no``, ``hour``, ``hour_end``), which are the hours to compute; and no clock. Which revision the rows
become is :mod:`spark.lake.feature_partitions`' rule. With ``--recompute false`` a group whose hours are whole is left
alone. ``--owner`` names the work for whom the groups' days are leased. A group that fails does not stop the others;
the step then fails, naming each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import registry, timestamps
from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR, floor_hour
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from adrank.storage import leases
from adrank.storage.leases import Lease
from spark.aggregation import window_range
from spark.aggregation.event_views import EventLog
from spark.aggregation.tiles import Tiles
from spark.aggregation.window_range import WindowRange
from spark.application.parts import Parts, Work
from spark.application.session import beside, session
from spark.catalogue.views import Catalogue, CatalogueViews
from spark.lake import feature_manifests, feature_partitions, raw_events
from spark.lake.files import LakeFiles


@dataclass(frozen=True)
class FeatureQueries:
    """The queries of all groups below one prefix, and what they are run on.

    ``raws`` are the closed raw hours from the reach of the hour before the first computed one on.
    """

    files: LakeFiles
    prefix: str
    raws: Sequence[RawManifest]
    catalogue: Catalogue
    events: EventLog

    @classmethod
    def of(
        cls,
        files: LakeFiles,
        prefix: str,
        raws: Sequence[RawManifest],
        groups: Sequence[FeatureGroup],
        ignored: Collection[str],
    ) -> FeatureQueries:
        """What ``groups`` are computed from, side by side. ``ignored``: columns that change data may have besides."""
        return cls(
            files, prefix, raws, Catalogue(files.spark, files, groups, ignored), EventLog(files.spark, files, groups)
        )

    def compute(
        self, spark: SparkSession, group: FeatureGroup, hours: Sequence[datetime], lease: Lease
    ) -> list[FeatureManifest]:
        """Compute ``hours``, in order, of one group; returns the manifests that now are the newest.

        ``spark`` is a session whose views nobody else uses meanwhile.
        """
        catalogue = CatalogueViews.for_group(spark, self.catalogue, group)
        _hours(spark, hours).createOrReplaceTempView("hours")
        windows = None
        if group.aggregation is not None:
            windows = self._windows(spark, group, catalogue, hours)
            windows.per_hour.createOrReplaceTempView("windows")
        catalogue.register(hours[0], hours[-1] + HOUR, group.lookback)
        rows = spark.sql(self._query("features", group))
        log = RawLog.of(self._raws(hours))
        manifests = feature_partitions.write(rows, self.files, group, hours, log, lease)
        if windows is not None:
            lease.require_held()
            windows.save()
        return manifests

    def complete(self, spark: SparkSession, group: FeatureGroup, hours: Sequence[datetime], lease: Lease) -> str:
        """Do what is missing of hours that are not whole, and say what it was.

        Where a step died after it had published them, only their windows are saved.
        """
        if not self.is_published(group, hours):
            return describe(self.compute(spark, group, hours, lease))
        if group.aggregation is None:
            return f"{hours[-1].isoformat()} was computed by another step meanwhile"
        windows = self._windows(spark, group, CatalogueViews.for_group(spark, self.catalogue, group), hours)
        lease.require_held()
        windows.save()
        return f"{hours[-1].isoformat()} was computed, its windows are kept now"

    def outdated(self, group: FeatureGroup, hours: Iterable[datetime]) -> list[datetime]:
        """Those of ``hours``, in order, that were computed from another log than this one."""
        return lateness.outdated(group, feature_manifests.computed(self.files, group, hours), RawLog.of(self.raws))

    def is_published(self, group: FeatureGroup, hours: Sequence[datetime]) -> bool:
        """Whether all hours were computed from this log in the group's present layout."""
        found = feature_manifests.computed(self.files, group, hours)
        if len(found) < len(hours) or any(manifest.fingerprint != group.fingerprint for manifest in found):
            return False
        return not lateness.outdated(group, found, RawLog.of(self.raws))

    def is_whole(self, spark: SparkSession, group: FeatureGroup, hours: Sequence[datetime]) -> bool:
        """Whether all hours are published and the last one's windows are saved."""
        if not self.is_published(group, hours):
            return False
        catalogue = CatalogueViews.for_group(spark, self.catalogue, group)
        return group.aggregation is None or window_range.is_saved(
            self._tiles(spark, group, catalogue), self.raws, hours[-1]
        )

    def _windows(
        self, spark: SparkSession, group: FeatureGroup, catalogue: CatalogueViews, hours: Sequence[datetime]
    ) -> WindowRange:
        tiles = self._tiles(spark, group, catalogue)
        return window_range.compute(tiles, self._raws(hours), hours[0], hours[-1] + HOUR)

    def _raws(self, hours: Sequence[datetime]) -> list[RawManifest]:
        first = lateness.horizon_start(hours[0] - HOUR)
        return [raw for raw in self.raws if first <= raw.hour < hours[-1] + HOUR]

    def _tiles(self, spark: SparkSession, group: FeatureGroup, catalogue: CatalogueViews) -> Tiles:
        return Tiles(spark, self.files, group, self._query("tiles", group), catalogue, self.events)

    def _query(self, kind: str, group: FeatureGroup) -> str:
        return self.files.read(f"{self.prefix.removeprefix(self.files.root)}/{kind}/{group.name}.sql")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    args = ComputeFeatures.parse(argv)
    hours = list(timestamps.hours(args.start, floor_hour(args.end)))
    spark = session(f"features {' '.join(args.group)} {args.start.isoformat()}")
    files = LakeFiles(spark, args.bucket)
    raws = raw_events.closed_hours(files, lateness.horizon_start(hours[0] - HOUR), hours[-1] + HOUR)
    groups = [registry.load().group(name) for name in args.group]
    queries = FeatureQueries.of(files, args.queries, raws, groups, args.ignored_column)

    def work(group: FeatureGroup) -> Work:
        def compute() -> str:
            own = beside(spark)
            if not args.recompute and queries.is_whole(own, group, hours):
                return "whole already"
            with leases.hold(bucket=args.bucket, group=group.name, days=hours, owner=args.owner) as lease:
                if args.recompute:
                    return describe(queries.compute(own, group, hours, lease))
                return queries.complete(own, group, hours, lease)

        return compute

    parts = Parts()
    parts.run({group.name: work(group) for group in groups})
    parts.require_success()


def describe(manifests: Sequence[FeatureManifest]) -> str:
    """What was computed, in one line."""
    rows, last = sum(manifest.rows for manifest in manifests), manifests[-1]
    return (
        f"{rows} rows in {len(manifests)} hour(s), the last {last.hour.isoformat()} "
        f"revision={last.revision} digest={last.content_digest[:12]}"
    )


def _hours(spark: SparkSession, hours: Sequence[datetime]) -> DataFrame:
    numbers = [int(hour.timestamp()) // 3600 for hour in hours]
    return (
        spark.range(numbers[0], numbers[-1] + 1)
        .where(F.col("id").isin(numbers))
        .select(
            F.col("id").alias("hour_no"),
            F.timestamp_seconds(F.col("id") * 3600).alias("hour"),
            F.timestamp_seconds((F.col("id") + 1) * 3600).alias("hour_end"),
        )
    )


if __name__ == "__main__":
    main()
