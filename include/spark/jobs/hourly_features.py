"""All that an hour's features take, in one application: compute, validate, push to the online stores, audit.

    spark-submit hourly_features.py --bucket B --hour ISO --queries s3://…/sql --run ID --owner NAME
        --late-lookback-hours N [--ignored-column TABLE.COLUMN] --row-ratio LEAST MOST --min-rows-compared ROWS
        --redis-host H --redis-port P [--redis-tls] --table T --region R --sample N --max-skew X

Parts, each with an outcome of its own in ``reports/features/dt=/hr=/<run>.json``:

- ``compute.<group>``, side by side: the hours of the lookback that late events have outdated are computed again first,
  as new revisions; then the hour. What is whole is not computed twice. A group that fails does not stop the others.
- ``validate``: Great Expectations over all groups; nothing is pushed unless all of it holds.
- ``push.<store>``, side by side, and ``audit``, which reads the stores back.

The step fails when a part failed, and names it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Final, get_args

from pyspark.sql import SparkSession

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.entry_points.features import HourlyFeatures
from adrank.contracts.manifests import FeatureRun, PartOutcome
from adrank.contracts.registry import FeatureGroup, Store
from adrank.contracts.timestamps import HOUR
from adrank.decisions import lateness
from adrank.online.writer import DynamoDBAddress, RedisAddress, StoreAddress
from adrank.runtime.retry import RetryUntil
from adrank.storage import leases
from expectations.hour_suite import RowRatioBounds
from spark.application.parts import Parts, Work
from spark.application.session import beside, session
from spark.jobs.audit_features import audit
from spark.jobs.compute_features import FeatureQueries, describe
from spark.jobs.push_features import push
from spark.jobs.validate_features import validate
from spark.lake import raw_events
from spark.lake.files import LakeFiles
from spark.online.stored_rows import StoredRows

STORES: Final[tuple[Store, ...]] = get_args(Store)
#: How long a store that is full, throttles or is away is waited for.
_STORE_SECONDS: Final = 900.0


class RunReport:
    """The run's report in the lake, written again whenever there is news."""

    def __init__(self, files: LakeFiles, hour: datetime, run: str) -> None:
        self._files = files
        self._key = lake.feature_run(hour, run)
        self._one_at_a_time = threading.Lock()
        before = files.load(self._key, FeatureRun)
        #: An earlier try may have revised hours that it did not come to validate.
        self.report = FeatureRun(hour=hour, run=run, revised_from=before.revised_from if before else None)

    def revised(self, since: datetime) -> None:
        """Note, before it is done, that hours from ``since`` on are revised."""
        with self._one_at_a_time:
            if self.report.revised_from is None or since < self.report.revised_from:
                self._write(self.report.model_copy(update={"revised_from": since}))

    def ended(self, parts: tuple[PartOutcome, ...]) -> None:
        """Note what came of the parts."""
        with self._one_at_a_time:
            self._write(self.report.model_copy(update={"parts": parts}))

    def _write(self, report: FeatureRun) -> None:
        self.report = report
        self._files.write(self._key, report.model_dump_json(indent=2))


@dataclass(frozen=True)
class HourOfFeatures:
    """The features of one hour. ``log`` reaches back far enough for ``lookback``."""

    spark: SparkSession
    queries: FeatureQueries
    hour: datetime
    lookback: timedelta
    owner: str | None
    bucket: str
    report: RunReport

    def compute(self, group: FeatureGroup) -> str:
        """Revise what late events outdated, compute the hour if it is not whole, and say what was done."""
        queries, spark = self.queries, beside(self.spark)
        late = queries.outdated(group, timestamps.hours(self.hour - self.lookback, self.hour))
        if late:
            self.report.revised(late[0])
        whole = queries.is_whole(spark, group, [self.hour])
        if whole and not late:
            return f"{self.hour.isoformat()} is whole already"
        done = []
        with leases.hold(bucket=self.bucket, group=group.name, days=[*late, self.hour], owner=self.owner) as lease:
            if late:
                done.append(f"late events: {describe(queries.compute(spark, group, late, lease))}")
            if not whole:
                done.append(queries.complete(spark, group, [self.hour], lease))
        return "; ".join(done)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    args = HourlyFeatures.parse(argv)
    hour, lookback = args.hour, timedelta(hours=args.late_lookback_hours)
    # Great Expectations takes as long to import as Spark takes to start.
    with ThreadPoolExecutor(1) as importer:
        importer.submit(import_module, "great_expectations")
        spark = session(f"features of {hour.isoformat()}")
    files = LakeFiles(spark, args.bucket)
    report = RunReport(files, hour, args.run)
    raws = raw_events.closed_hours(files, lateness.horizon_start(hour - lookback - HOUR), hour + HOUR)
    groups = registry.load().groups
    queries = FeatureQueries.of(files, args.queries, raws, groups, args.ignored_column)
    of_hour = HourOfFeatures(spark, queries, hour, lookback, args.owner, args.bucket, report)
    bounds = RowRatioBounds(*args.row_ratio, args.min_rows_compared)
    addresses: dict[Store, StoreAddress] = {
        "redis": RedisAddress(args.redis_host, args.redis_port, args.redis_tls),
        "dynamodb": DynamoDBAddress(args.table, args.region),
    }

    def compute(group: FeatureGroup) -> Work:
        return lambda: of_hour.compute(group)

    def pushed_to(store: Store) -> Work:
        return lambda: push(spark, files, store, hour, addresses[store], RetryUntil.for_seconds(_STORE_SECONDS))

    def validated() -> str:
        return validate(spark, files, hour, hour + HOUR, report.report.revised_from, args.run, bounds)

    def audited() -> str:
        where = (args.redis_host, args.redis_port, args.redis_tls, args.table, args.region)
        with closing(StoredRows(*where)) as stores:
            return audit(spark, files, hour, stores, args.sample, args.max_skew, args.region)

    parts = Parts(report.ended)
    rounds: list[dict[str, Work]] = [
        {f"compute.{group.name}": compute(group) for group in groups},
        {"validate": validated},
        {f"push.{store}": pushed_to(store) for store in STORES},
        {"audit": audited},
    ]
    for number, works in enumerate(rounds):
        if not parts.run(works):
            parts.skip(*(name for later in rounds[number + 1 :] for name in later), why="what comes before it failed")
            break
    parts.require_success()


if __name__ == "__main__":
    main()
