"""Manifests: the small JSON that says a partition is whole, and what is in it.

A manifest is written last. Readers trust nothing that no manifest names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Strict):
    """One file of a partition: name relative to the manifest's prefix, rows, SHA-256 of its bytes."""

    name: str
    rows: int = Field(ge=0)
    sha256: str = ""


class RawManifest(_Strict):
    """One raw hour. ``watermark`` is the event time before which no more events are expected."""

    hour: datetime
    revision: int = Field(default=0, ge=0)
    revision_time: datetime
    watermark: datetime
    files: tuple[DataFile, ...] = ()
    rows: int = Field(ge=0)
    late_rows: int = Field(default=0, ge=0)
    rejected_rows: int = Field(default=0, ge=0)


class CdcManifest(_Strict):
    """One hour of change data of one table is complete up to ``watermark``."""

    table: str
    hour: datetime
    watermark: datetime
    files: tuple[DataFile, ...] = ()
    changes: int = Field(ge=0)


class BillingManifest(_Strict):
    """The one valid export of a day. ``total`` is a decimal in ``currency``; a corrected export is a new revision.

    Every revision's manifest is kept; as of a time, a reader takes the day's newest one with ``landed_at`` at or
    before it. ``landed_at`` is event time, by rule: the first revision counts as landed ``Billing.lag`` after its
    day's end, whenever it came, so that catching up with missed nights changes no clock; a correction when the raw
    log's watermark says that it came, and never before what it corrects, so that a training set can be built again
    as it was.
    """

    day: datetime
    revision: int = Field(default=0, ge=0)
    landed_at: datetime
    currency: str
    total: str
    file: DataFile


class FeatureManifest(_Strict):
    """One revision of one feature partition. ``content_digest`` covers sorted rows, not file bytes.

    ``raw_state`` digests the revisions of the raw hours that give this content (:mod:`adrank.decisions.lateness`).
    """

    group: str
    hour: datetime
    revision: int = Field(default=0, ge=0)
    available_at: datetime
    fingerprint: str
    rows: int = Field(ge=0)
    content_digest: str
    files: tuple[str, ...]
    raw_state: str = ""


class PushManifest(_Strict):
    """What one hour's push wrote to one online store."""

    store: str
    hour: datetime
    fingerprint: str
    groups: tuple[str, ...]
    offered: int = Field(ge=0)
    written: int = Field(ge=0)
    stale: int = Field(ge=0, description="rows that lost to a newer row already there")


class TrainingSetManifest(_Strict):
    """What the training set was built from and what came out. Its digest names the set."""

    as_of: datetime
    train_start: datetime
    test_start: datetime
    end: datetime
    impressions: int = Field(ge=0, description="impressions that entered the point-in-time join")
    rows: int = Field(ge=0, description="rows that left it; equal to impressions")
    queries: int = Field(ge=0)
    train_rows: int = Field(ge=0)
    test_rows: int = Field(ge=0)
    features: tuple[str, ...]
    fingerprint: str
    content_digest: str
    billed_events: int = Field(default=0, ge=0, description="answers whose revenue is what was billed")
    provisional_events: int = Field(default=0, ge=0, description="answers with revenue that may yet be billed")
    expired_events: int = Field(default=0, ge=0, description="answers that earned nothing: never billed, now mature")
    billed_revenue: float = 0
    provisional_revenue: float = 0


def rows_digest(row_digests: Iterable[str]) -> str:
    """SHA-256 over sorted row digests: independent of file names, file count and row order."""
    total = hashlib.sha256()
    for digest in sorted(row_digests):
        total.update(digest.encode())
    return total.hexdigest()
