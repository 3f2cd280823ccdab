"""Manifests: the small JSON that says a partition is whole, and what is in it.

A manifest is written last. Readers trust nothing that no manifest names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

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

    @property
    def digest(self) -> str:
        """Of what the hour holds, whatever revision it is called."""
        held = "\n".join(f"{file.name} {file.rows} {file.sha256}" for file in self.files)
        return hashlib.sha256(f"{self.revision}\n{held}".encode()).hexdigest()


class CdcManifest(_Strict):
    """One hour of change data of one table is complete up to ``watermark``."""

    table: str
    hour: datetime
    watermark: datetime
    files: tuple[DataFile, ...] = ()
    changes: int = Field(ge=0)


class CatalogueManifest(_Strict):
    """What one table was as a UTC day began, in a form that change data since is folded on.

    It counts while the claim of its ``attempt`` is there (:func:`adrank.contracts.lake.catalogue_claim`).
    """

    table: str
    day: datetime
    columns: dict[str, str] = Field(description="name -> kind of what was folded; of other columns it says nothing")
    truncations: int = Field(ge=0)
    attempt: str
    files: tuple[str, ...] = Field(description="relative to the day's prefix")


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


PartState = Literal["success", "failed", "skipped"]


class PartOutcome(_Strict):
    """What came of one part of a feature application. ``detail`` is one line: what it did, or why it failed."""

    name: str
    state: PartState
    seconds: float = Field(ge=0)
    detail: str


class FeatureRun(_Strict):
    """What one run has done for an hour, as far as it came: the parts that have ended, in the order of their ends.

    ``revised_from`` is the first hour that late events had outdated, noted before any is revised.
    """

    hour: datetime
    run: str
    revised_from: datetime | None = None
    parts: tuple[PartOutcome, ...] = ()


class TileManifest(_Strict):
    """What one feature group counted in one hour of the raw log. ``raw`` is the digest of the raw hour."""

    group: str
    hour: datetime
    counts: str = Field(description="fingerprint of what is counted, and how")
    raw: str
    files: tuple[str, ...]


class RollupManifest(_Strict):
    """The sum of the tiles of one day. ``tiles`` are the ``raw`` of those that were added, by hour of the day."""

    group: str
    day: datetime
    counts: str
    tiles: tuple[str, ...]
    files: tuple[str, ...]


class WindowManifest(_Strict):
    """A group's windows at the end of an hour: a cache of sums over tiles.

    ``raw`` digests the raw hours that could still have changed since older windows were made.
    """

    group: str
    hour: datetime
    counts: str
    raw: str
    files: tuple[str, ...]


class PushedPartition(_Strict):
    """One feature partition as a push takes it to an online store."""

    group: str
    fingerprint: str
    revision: int = Field(ge=0)
    content_digest: str


class PushedHour(_Strict):
    """What an online store holds after one hour's push: these partitions, and nothing of any other."""

    hour: datetime
    partitions: tuple[PushedPartition, ...]

    def partition(self, group: str) -> PushedPartition | None:
        """The partition of that group."""
        return next((p for p in self.partitions if p.group == group), None)


class PushManifest(_Strict):
    """What one hour's push wrote to one online store; written when all of it is there.

    Rows are offered because they differ from ``base``, because their turn to be written again has come, or because
    their entity vanished. Where ``superseded_by`` is set, the store was already at that hour and nothing was written.
    """

    store: str
    hour: datetime
    fingerprint: str
    groups: tuple[str, ...]
    offered: int = Field(ge=0)
    written: int = Field(ge=0)
    stale: int = Field(ge=0, description="rows that lost to a newer row already there")
    partitions: tuple[PushedPartition, ...] = ()
    base: datetime | None = Field(default=None, description="the pushed hour that was compared with; none: all rows")
    changed: int = Field(default=0, ge=0)
    refreshed: int = Field(default=0, ge=0, description="unchanged rows written again, so that none grows stale")
    vanished: int = Field(default=0, ge=0, description="entities without a row now, written as defaults")
    superseded_by: datetime | None = None


class FeatureAudit(_Strict):
    """One feature over the stored rows that were compared."""

    mismatched: int = Field(ge=0, description="rows in which what is served differs from the offline value")
    smape: float = Field(ge=0, le=1, description="mean of |served - offline| / (|served| + |offline|)")


class ServedAudit(_Strict):
    """Rows that requests of the hour were answered with, against the offline partition that they name."""

    rows: int = Field(default=0, ge=0, description="logged for requests of the hour")
    compared: int = Field(default=0, ge=0)
    mismatched: int = Field(default=0, ge=0)
    defaults: int = Field(default=0, ge=0, description="of those compared: the registry's defaults, for want of a row")
    unknown: int = Field(default=0, ge=0, description="of an hour or a layout that is not there any more")
    features: dict[str, int] = Field(default_factory=dict, description="feature -> rows in which it differs")


class GroupAudit(_Strict):
    """What reading one feature group back found. A key counts as one thing only, in the order of the fields."""

    group: str
    rows: int = Field(ge=0, description="in the offline partition")
    sampled: int = Field(ge=0, description="of these, read back")
    newer: int = Field(default=0, ge=0, description="sampled, but a later hour was pushed meanwhile: not compared")
    missing: int = Field(default=0, ge=0, description="not in the store")
    other_layout: int = Field(default=0, ge=0, description="packed with another layout: served as defaults")
    stale: int = Field(default=0, ge=0, description="older than the group's time to live: served as defaults")
    mismatched: int = Field(default=0, ge=0, description="served with other values")
    scanned: int = Field(default=0, ge=0, description="keys met in the store")
    extra: int = Field(default=0, ge=0, description="of these, served with values although offline there is no row")
    features: dict[str, FeatureAudit] = Field(default_factory=dict)
    served: ServedAudit = ServedAudit()
    examples: tuple[str, ...] = Field(default=(), description="some of the keys that differ, each with how")

    @property
    def compared(self) -> int:
        """Sampled keys of which the audit can say whether they are right."""
        return self.sampled - self.newer

    @property
    def different(self) -> int:
        """Sampled keys that differ in any way."""
        return self.missing + self.other_layout + self.stale + self.mismatched


class AuditManifest(_Strict):
    """One hour's features read back from the online stores. ``cursors`` say where the next hour's scan goes on."""

    hour: datetime
    fingerprint: str
    max_skew: float
    consistent: bool
    skew: float
    reasons: tuple[str, ...]
    groups: tuple[GroupAudit, ...]
    cursors: dict[str, str] = Field(default_factory=dict)

    @property
    def superseded(self) -> bool:
        """Whether it says nothing, because later hours had replaced all that it looked for."""
        return any(group.sampled for group in self.groups) and not any(group.compared for group in self.groups)


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
    unmatched_events: int = Field(default=0, ge=0, description="events that were billed and are no answer of the log")
    unmatched_revenue: float = Field(default=0, description="what these were billed; no row of the set has it")


def rows_digest(row_digests: Iterable[str]) -> str:
    """SHA-256 over sorted row digests: independent of file names, file count and row order."""
    total = hashlib.sha256()
    for digest in sorted(row_digests):
        total.update(digest.encode())
    return total.hexdigest()
