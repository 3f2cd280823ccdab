"""Take one night's billing export from the inbox: land it, or put it into quarantine and say why.

The inbox is never touched; a corrected delivery there and another run replace what landed before.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from adrank.contracts import lake
from adrank.contracts.manifests import BillingVerdict
from adrank.storage import watermarks
from adrank.storage.object_store import ObjectStore
from ingestion.billing import export as billing_export
from ingestion.billing import landing, net_amounts
from ingestion.billing.export import CONTROL, EXPORT, BillingExportError


class NothingDeliveredError(LookupError):
    """The inbox holds neither export nor control total of the day."""


def process_export(store: ObjectStore, day: datetime, *, currency: str, lag: timedelta) -> BillingVerdict:
    """Check what lies in the inbox for ``day`` (UTC midnight) and land it or quarantine it.

    :raises NothingDeliveredError: there is nothing to check
    """
    inbox = lake.BILLING_INBOX.day(day)
    found = {EXPORT: store.find(lake.BILLING_EXPORT.key(day)), CONTROL: store.find(lake.BILLING_CONTROL.key(day))}
    files = {name: content for name, content in found.items() if content is not None}
    if not files:
        raise NothingDeliveredError(f"{lake.uri(store.bucket, inbox)} holds neither {EXPORT} nor {CONTROL}")
    try:
        export = billing_export.check(day, found[EXPORT], found[CONTROL], currency)
        net_amounts.require_non_negative(store, export)
    except BillingExportError as error:
        return _quarantined(store, day, files, error, currency)
    landed = landing.land(
        store, day, export.rows, currency=currency, lag=lag, clock=lambda: watermarks.raw_watermark(store)
    )
    manifest = landed.manifest
    return BillingVerdict(
        day=day,
        outcome="landed" if landed.changed else "unchanged",
        key=lake.RAW_BILLING.day(day) + manifest.file.name,
        currency=currency,
        revision=manifest.revision,
        rows=manifest.file.rows,
        total=manifest.total,
        landed_exports=int(landed.changed),
        delivered=_digests(files),
    )


def _quarantined(
    store: ObjectStore, day: datetime, files: dict[str, bytes], error: BillingExportError, currency: str
) -> BillingVerdict:
    kept = landing.manifest_of(store, day)
    return BillingVerdict(
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
