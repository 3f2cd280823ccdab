"""Take one night's billing export from the inbox: land it, or put it into quarantine and say why.

``python -m ingestion.billing --day ISO --bucket B --currency EUR [--lag PT3H]`` as a processing job, whose output
``verdict`` gets ``verdict.json`` (:class:`Verdict`). A refused export is an answer, not a failure of the job: the exit
code is 0. The inbox is never touched; a corrected delivery there and another run replace what landed before.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from adrank.contracts import lake
from adrank.contracts.settings import Billing
from adrank.contracts.timestamps import as_utc, floor_day
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.billing import export as billing_export
from ingestion.billing import landing, net_amounts
from ingestion.billing.export import CONTROL, EXPORT, BillingExportError
from ingestion.landing.raw_events import LandingError

_log = logging.getLogger(__name__)


class NothingDeliveredError(LookupError):
    """The inbox holds neither export nor control total of the day."""


class Verdict(BaseModel):
    """What became of a day's export. ``key`` is the landed file, or the prefix of the quarantined copy.

    ``revision``, ``rows`` and ``total`` are those of what the lake now holds of that day, whatever was refused; null
    when it holds nothing. The counts are per run, for metrics. ``delivered`` are the SHA-256 digests of the files that
    were looked at, by name: another delivery in the inbox has not been.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: datetime
    outcome: Literal["landed", "unchanged", "quarantined"]
    key: str
    file: str = ""
    row: int | None = None
    reason: str = ""
    currency: str
    revision: int | None = None
    rows: int | None = None
    total: str | None = None
    landed_exports: int = 0
    quarantined_exports: int = 0
    delivered: dict[str, str] = {}


def settle(store: ObjectStore, day: datetime, *, currency: str, lag: timedelta) -> Verdict:
    """Check what lies in the inbox for ``day`` (UTC midnight) and land it or quarantine it.

    :raises NothingDeliveredError: there is nothing to check
    """
    inbox = lake.billing_inbox(day)
    found = {name: store.find(inbox + name) for name in (EXPORT, CONTROL)}
    files = {name: content for name, content in found.items() if content is not None}
    if not files:
        raise NothingDeliveredError(f"{lake.uri(store.bucket, inbox)} holds neither {EXPORT} nor {CONTROL}")
    try:
        export = billing_export.check(day, found[EXPORT], found[CONTROL], currency)
        net_amounts.require_non_negative(store, export)
    except BillingExportError as error:
        return _quarantined(store, day, files, error, currency)
    landed = landing.land(store, day, export.rows, currency=currency, lag=lag, clock=lambda: landing.watermark(store))
    manifest = landed.manifest
    return Verdict(
        day=day,
        outcome="landed" if landed.changed else "unchanged",
        key=lake.raw_billing(day) + manifest.file.name,
        currency=currency,
        revision=manifest.revision,
        rows=manifest.file.rows,
        total=manifest.total,
        landed_exports=int(landed.changed),
        delivered=_digests(files),
    )


def _quarantined(
    store: ObjectStore, day: datetime, files: dict[str, bytes], error: BillingExportError, currency: str
) -> Verdict:
    kept = landing.manifest_of(store, day)
    return Verdict(
        day=day,
        outcome="quarantined",
        key=landing.quarantine(store, day, files, error),
        file=error.file,
        row=error.row,
        reason=str(error),
        currency=currency,
        revision=kept.revision if kept else None,
        rows=kept.file.rows if kept else None,
        total=kept.total if kept else None,
        quarantined_exports=1,
        delivered=_digests(files),
    )


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


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
        verdict = settle(store, chosen.day, currency=chosen.currency, lag=chosen.lag)
    except (NothingDeliveredError, LandingError, ObjectStoreError) as error:
        _log.error("%s", error)
        _write(_base() / "output/message", str(error))
        return 1
    _write(_base() / "processing/output/verdict/verdict.json", verdict.model_dump_json(indent=2))
    _log.log(logging.ERROR if verdict.reason else logging.INFO, "%s", verdict.model_dump_json())
    return 0
