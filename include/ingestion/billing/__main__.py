"""``python -m ingestion.billing --day ISO --bucket B --currency EUR [--lag PT3H]``: process a day's billing export.

A processing job, whose output ``verdict`` gets ``verdict.json`` (:class:`adrank.contracts.manifests.BillingVerdict`). A
refused export is an answer, not a failure of the job: the exit code is 0.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from adrank.contracts.settings import Billing
from adrank.contracts.timestamps import as_utc, floor_day
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.billing.process import NothingDeliveredError, process_export
from ingestion.landing.raw_events import LandingError

_log = logging.getLogger("ingestion.billing")


def _day(spelled: str) -> datetime:
    try:
        moment = datetime.fromisoformat(spelled)
        day = as_utc(moment if "T" in spelled or moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if floor_day(day) != day:
        raise argparse.ArgumentTypeError(f"{spelled} is not the start of a UTC day")
    return day


def _duration(spelled: str) -> timedelta:
    try:
        return TypeAdapter(timedelta).validate_python(spelled)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{spelled!r} is not an ISO 8601 duration such as PT3H") from error


def _base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ingestion.billing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--day", type=_day, required=True, help="UTC day of the export, e.g. 2026-03-01")
    parser.add_argument("--bucket", required=True, help="bucket of the lake")
    parser.add_argument("--currency", required=True, help="the one currency that amounts must be in")
    parser.add_argument("--lag", type=_duration, default=Billing().lag, help="see the billing manifest's `landed_at`")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    store = ObjectStore.connect(chosen.bucket, region=os.environ.get("AWS_REGION"))
    try:
        verdict = process_export(store, chosen.day, currency=chosen.currency, lag=chosen.lag)
    except (NothingDeliveredError, LandingError, ObjectStoreError) as error:
        _log.error("%s", error)
        _write(_base() / "output/message", str(error))
        return 1
    _write(_base() / "processing/output/verdict/verdict.json", verdict.model_dump_json(indent=2))
    _log.log(logging.ERROR if verdict.reason else logging.INFO, "%s", verdict.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
