"""Landing of billing: one file and one manifest per day, or, for an export that was refused, nothing but a copy.

A landed file is written anew from its checked rows, so that every reader meets one spelling; the inbox keeps what was
delivered. Names are digests of content: landing the same rows again changes nothing, other rows make a new revision.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from pydantic import ValidationError

from adrank.contracts import lake
from adrank.contracts.manifests import BillingManifest, DataFile
from adrank.contracts.timestamps import DAY, as_utc
from adrank.storage import documents
from adrank.storage.documents import VersionedDocument
from adrank.storage.object_store import ObjectStore
from ingestion.billing.export import COLUMNS, BilledRow, BillingExportError
from ingestion.landing.raw_events import LandingError

REASON: Final = "reason.json"


class LandResult(NamedTuple):
    """The day's manifest, and whether this landing wrote it."""

    manifest: BillingManifest
    changed: bool


def land(
    store: ObjectStore,
    day: datetime,
    rows: Iterable[BilledRow],
    *,
    currency: str,
    lag: timedelta,
    clock: Callable[[], datetime | None] = lambda: None,
) -> LandResult:
    """Land one day's rows: data file, kept manifest of the revision, the day's manifest.

    ``clock`` is asked for the present in event time when rows replace others; see
    :class:`adrank.contracts.manifests.BillingManifest`. Of two landings at once one fails with
    :class:`adrank.storage.object_store.ConflictError`.
    """
    listed = list(rows)
    body = _csv(listed)
    digest = hashlib.sha256(body).hexdigest()
    document = _open(store, day)
    current = document.current
    if current and (current.file.sha256, current.currency) == (digest, currency):
        return LandResult(current, changed=False)
    moments = [as_utc(day) + DAY + lag]
    if current:
        moments += [moment for moment in (clock(), current.landed_at) if moment]
    manifest = BillingManifest(
        day=day,
        revision=current.revision + 1 if current else 0,
        landed_at=max(moments),
        currency=currency,
        total=f"{sum((row.amount or Decimal(0) for row in listed), Decimal(0)):f}",
        file=DataFile(name=f"part-{digest[:16]}.csv", rows=len(listed), sha256=digest),
    )
    store.put(lake.RAW_BILLING.day(day) + manifest.file.name, body)
    store.put(lake.RAW_BILLING.manifest_revision(day, manifest.revision), documents.encode(manifest))
    document.save(manifest)
    return LandResult(manifest, changed=True)


def quarantine(store: ObjectStore, day: datetime, files: Mapping[str, bytes], error: BillingExportError) -> str:
    """Copy what was delivered beside the reason why it was refused; returns the prefix, named by content."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    name = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]
    prefix = f"{lake.BILLING_QUARANTINE.day(day)}{name}/"
    for file, content in files.items():
        store.put(prefix + file, content)
    reason = {"day": f"{day:%Y-%m-%d}", "file": error.file, "row": error.row, "reason": str(error), "sha256": digests}
    store.put(prefix + REASON, json.dumps(reason, indent=2, sort_keys=True).encode())
    return prefix


def manifest_of(store: ObjectStore, day: datetime) -> BillingManifest | None:
    """The day's manifest, or None when nothing of that day has landed."""
    return _open(store, day).current


def _open(store: ObjectStore, day: datetime) -> VersionedDocument[BillingManifest]:
    key = lake.RAW_BILLING.manifest(day)
    try:
        return VersionedDocument.open(store, key, BillingManifest)
    except ValidationError as error:
        raise LandingError(f"{lake.uri(store.bucket, key)} is no billing manifest: {error}") from error


def _csv(rows: Iterable[BilledRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event_id, billed_at, amount, currency in rows:
        plain = "" if amount is None else f"{amount:f}"
        writer.writerow((event_id, as_utc(billed_at).isoformat(), plain, currency))
    return text.getvalue().encode()
