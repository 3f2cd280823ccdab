"""Great Expectations on the written partitions of whole hours, where the data is; a failure stops the push.

    spark-submit validate_features.py --bucket B --start ISO --end ISO --run ID
        --row-ratio LEAST MOST --min-rows-compared ROWS

Looks at the newest revision of every group, for every hour of the range and for the hours from ``revised_from`` up to
it that were computed. Writes ``validation/dt=/hr=/results.json`` of each of these hours, and what this run found under
``validation/dt=/hr=/runs/<run>/`` of the last one: ``results.json``, ``great_expectations.json``, ``docs/``. Exits 1
naming group, expectation and value.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.entry_points.features import ValidateFeatures
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import DAY
from expectations.hour_suite import HourRowCounts, RowRatioBounds
from spark.application.session import session
from spark.lake import feature_manifests, feature_partitions
from spark.lake.files import LakeFiles, in_parallel

if TYPE_CHECKING:
    from expectations.validation import ValidationRun

RESULTS: Final = "results.json"


class ExpectationsFailedError(RuntimeError):
    """Expectations do not hold; the message names group, expectation and value of each."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    args = ValidateFeatures.parse(argv)
    bounds = RowRatioBounds(*args.row_ratio, args.min_rows_compared)

    # Great Expectations takes as long to import as Spark takes to start.
    with ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "great_expectations")
        spark = session(f"validate {args.start.isoformat()}")
    files = LakeFiles(spark, args.bucket)
    try:
        print(validate(spark, files, args.start, args.end, None, args.run, bounds))
    except ExpectationsFailedError as error:
        sys.exit(str(error))


def validate(
    spark: SparkSession,
    files: LakeFiles,
    start: datetime,
    end: datetime,
    revised_from: datetime | None,
    run: str,
    bounds: RowRatioBounds,
) -> str:
    """Look at the hours, publish what is found, and say how many expectations hold.

    :raises ExpectationsFailedError: some do not; what is found is published all the same.
    """
    from expectations.validation import ValidationRun

    revised = _computed(files, list(timestamps.hours(revised_from or start, start)))
    hours = [*revised, *timestamps.hours(start, end)]
    validated: dict[datetime, dict[str, str]] = {hour: {} for hour in hours}
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder)
        validation = ValidationRun(lake.segment(run), end, docs)
        for group in registry.load().groups:
            manifests = feature_manifests.manifests_of(files, group, hours)
            for manifest in manifests:
                validated[manifest.hour][group.name] = manifest.content_digest
            rows = written(spark, files, group, manifests)
            validation.rows(rows, group)
            validation.hours(rows, group, _row_counts(files, group, manifests), bounds)
        _publish(files, lake.validation_run(hours[-1], run), validation, validated)
        validation.build_docs()
        _upload(files, docs, lake.data_docs(hours[-1], run))
    failed = [finding for finding in validation.findings if not finding.success]
    if failed:
        raise ExpectationsFailedError("; ".join(map(str, failed)))
    return f"{len(validation.findings)} expectations hold over {len(hours)} hour(s)"


def written(
    spark: SparkSession, files: LakeFiles, group: FeatureGroup, manifests: Sequence[FeatureManifest]
) -> DataFrame:
    """The rows of ``manifests`` with the columns that their files have, which are not asked to be the registry's."""
    named = feature_manifests.data_files(manifests)
    if not named:
        return feature_partitions.read(spark, files, group, manifests)
    return files.read_parquet(spark, named, spark.read.parquet(files.uri(named[-1])).schema)


def _computed(files: LakeFiles, hours: Sequence[datetime]) -> list[datetime]:
    groups = registry.load().groups
    whole = in_parallel(lambda hour: all(feature_manifests.newest(files, group, hour) for group in groups), hours)
    return [hour for hour, is_whole in zip(hours, whole, strict=True) if is_whole]


def _row_counts(files: LakeFiles, group: FeatureGroup, manifests: Sequence[FeatureManifest]) -> HourRowCounts:
    requested = {manifest.hour: manifest.rows for manifest in manifests}
    before = feature_manifests.computed(files, group, {hour - DAY for hour in requested} - requested.keys())
    comparable = {manifest.hour: manifest.rows for manifest in before if manifest.fingerprint == group.fingerprint}
    return HourRowCounts(requested, requested | comparable, _first_hour(files, group))


def _first_hour(files: LakeFiles, group: FeatureGroup) -> datetime:
    """The first hour that was ever computed."""
    partitions = lake.FEATURES(group.name).prefix
    day = next(name for name in files.names(partitions) if name.startswith("dt="))
    return datetime.strptime(f"{day}/{files.names(partitions + day)[0]}", "dt=%Y-%m-%d/hr=%H").replace(tzinfo=UTC)


def _publish(
    files: LakeFiles, run: str, validation: ValidationRun, validated: Mapping[datetime, Mapping[str, str]]
) -> None:
    success = all(finding.success for finding in validation.findings)
    verdict = {"success": success, "registry": registry.load().fingerprint, "run": run}
    found = {
        **verdict,
        "findings": [finding.model_dump() for finding in validation.findings],
        "content_digests": {hour.isoformat(): digests for hour, digests in validated.items()},
    }
    files.write(run + RESULTS, json.dumps(found, indent=2))
    files.write(run + "great_expectations.json", validation.results())

    def write_verdict(hour: datetime) -> None:
        of_hour = {**verdict, "content_digests": validated[hour]}
        files.write(lake.VALIDATION.hour(hour) + RESULTS, json.dumps(of_hour, indent=2))

    in_parallel(write_verdict, validated)


def _upload(files: LakeFiles, docs: Path, prefix: str) -> None:
    """The pages, in place of an earlier try's; fonts and pictures, the same 4 MB every time, are left out."""
    files.delete(prefix.rstrip("/"))
    pages = sorted(docs.rglob("*.html"))
    in_parallel(lambda page: files.write(prefix + page.relative_to(docs).as_posix(), page.read_text("utf-8")), pages)


if __name__ == "__main__":
    main()
