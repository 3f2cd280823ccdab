"""Great Expectations on the written partitions of whole hours, where the data is; a failure stops the push.

    spark-submit validate_features.py --bucket B --start ISO --end ISO [--revised-from ISO]

Looks at the newest revision of every group, for every hour of the range and for the hours from ``--revised-from`` up to
it that were computed. Writes ``validation/dt=/hr=/results.json`` of each of these hours. Exits 1 naming group,
expectation and value.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime

from adrank.contracts import lake, registry
from expectations.verdict import Finding, validate
from spark import feature_manifests, feature_partitions
from spark.lake_files import LakeFiles, in_parallel
from spark.session import session

RESULTS = "results.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--start", required=True, type=datetime.fromisoformat)
    parser.add_argument("--end", required=True, type=datetime.fromisoformat)
    parser.add_argument("--revised-from", type=datetime.fromisoformat)
    asked = parser.parse_args(argv)

    spark = session(f"validate {asked.start.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    groups = registry.load().groups
    earlier = list(lake.hours(asked.revised_from or asked.start, asked.start))
    computed = in_parallel(lambda hour: all(feature_manifests.newest(files, g, hour) for g in groups), earlier)
    revised = [hour for hour, there in zip(earlier, computed, strict=True) if there]
    hours = [*revised, *lake.hours(asked.start, asked.end)]
    findings: list[Finding] = []
    validated: dict[datetime, dict[str, str]] = {hour: {} for hour in hours}
    for group in groups:
        manifests = feature_manifests.manifests_of(files, group, hours)
        for manifest in manifests:
            validated[manifest.hour][group.name] = manifest.content_digest
        rows = feature_partitions.read(spark, files, group, manifests).cache()
        findings += validate(rows, group, [hour + lake.HOUR for hour in hours])
        rows.unpersist()
    failed = [finding for finding in findings if not finding.success]
    results = {
        "success": not failed,
        "start": (asked.revised_from or asked.start).isoformat(),
        "end": asked.end.isoformat(),
        "registry": registry.load().fingerprint,
        "findings": [finding.model_dump() for finding in findings],
    }
    for hour in hours:
        verdict = {**results, "content_digests": validated[hour]}
        files.write(lake.validation(hour) + RESULTS, json.dumps(verdict, indent=2))
    print(f"{len(findings) - len(failed)} of {len(findings)} expectations hold over {len(hours)} hour(s)")
    if failed:
        sys.exit("; ".join(map(str, failed)))


if __name__ == "__main__":
    main()
