"""Great Expectations on the written partitions of whole hours, where the data is; a failure stops the push.

    spark-submit validate_features.py --bucket B --start ISO --end ISO

Writes ``validation/dt=/hr=/results.json`` for every hour of the range. Exits 1 naming group, expectation and value.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime

from adrank.contracts import lake, registry
from expectations.verdict import Finding, validate
from spark import feature_partitions
from spark.lake_files import LakeFiles
from spark.session import session

RESULTS = "results.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--start", required=True, type=datetime.fromisoformat)
    parser.add_argument("--end", required=True, type=datetime.fromisoformat)
    asked = parser.parse_args(argv)

    spark = session(f"validate {asked.start.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    hours = list(lake.hours(asked.start, asked.end))
    findings: list[Finding] = []
    validated: dict[datetime, dict[str, str]] = {hour: {} for hour in hours}
    for group in registry.load().groups:
        manifests = feature_partitions.manifests_of(files, group, hours)
        for manifest in manifests:
            validated[manifest.hour][group.name] = manifest.content_digest
        rows = feature_partitions.read(spark, files, group, manifests).cache()
        findings += validate(rows, group, [hour + lake.HOUR for hour in hours])
        rows.unpersist()
    failed = [finding for finding in findings if not finding.success]
    results = {
        "success": not failed,
        "start": asked.start.isoformat(),
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
