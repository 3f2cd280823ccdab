"""``python -m ingestion.own_logs --data DIR --bucket B [--labels-maturity PT1H] [--check]``: import a user's own logs.

Of a bad file the error is the last line on stderr, the exit code is 1 and the lake is as it was. On success the report
is on stdout as JSON. The rules are those of :mod:`ingestion.own_logs.importer`.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from adrank.contracts import settings
from adrank.contracts.entry_points.command_line import LakeArguments, loaded
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.own_logs import report
from ingestion.own_logs.files import OwnLogsError
from ingestion.own_logs.importer import land, read


class OwnLogsArguments(LakeArguments):
    """Import a user's own logs."""

    program = "ingestion.own_logs"

    data: Path = Field(description="directory that holds the logs")
    labels_maturity: timedelta = loaded(lambda s: s.labels.maturity)
    check: bool = Field(default=False, description="read and check only, land nothing")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = OwnLogsArguments.parse(arguments)
    try:
        logs = read(args.data)
        summary = report.build(logs, args.labels_maturity)
        if not args.check:
            store = ObjectStore.connect(args.bucket, region=settings.load().region)
            land(logs, store, billing_lag=settings.load().billing.lag)
    except (OwnLogsError, ObjectStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    print(summary.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
