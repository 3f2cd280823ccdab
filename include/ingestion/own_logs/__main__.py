"""``python -m ingestion.own_logs --data DIR --bucket B [--labels-maturity PT1H] [--check]``: import a user's own logs.

Of a bad file the error is the last line on stderr, the exit code is 1 and the lake is as it was. On success the report
is on stdout as JSON. The rules are those of :mod:`ingestion.own_logs.importer`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from adrank.contracts import settings
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.own_logs import report
from ingestion.own_logs.files import OwnLogsError
from ingestion.own_logs.importer import land, read


def _maturity(spelled: str) -> timedelta:
    try:
        return TypeAdapter(timedelta).validate_python(spelled)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{spelled!r} is not an ISO 8601 duration such as PT1H") from error


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ingestion.own_logs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory that holds the logs")
    parser.add_argument("--bucket", default=settings.load().lake.bucket, help="bucket of the lake")
    parser.add_argument("--labels-maturity", type=_maturity, default=settings.load().labels.maturity)
    parser.add_argument("--check", action="store_true", help="read and check only, land nothing")
    chosen = parser.parse_args(arguments)
    try:
        logs = read(chosen.data)
        summary = report.build(logs, chosen.labels_maturity)
        if not chosen.check:
            store = ObjectStore.connect(chosen.bucket, region=settings.load().region)
            land(logs, store, billing_lag=settings.load().billing.lag)
    except (OwnLogsError, ObjectStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    print(summary.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
