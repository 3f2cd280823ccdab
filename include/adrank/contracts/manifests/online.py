"""Manifests of the online stores: what was pushed to them, and whether they serve it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from adrank.contracts.base import FrozenModel


class PushedPartition(FrozenModel):
    """One feature partition as a push takes it to an online store."""

    group: str
    fingerprint: str
    revision: int = Field(ge=0)
    content_digest: str


class PushedHour(FrozenModel):
    """What an online store holds after one hour's push: these partitions, and nothing of any other."""

    hour: datetime
    partitions: tuple[PushedPartition, ...]

    def partition(self, group: str) -> PushedPartition | None:
        """The partition of that group."""
        return next((p for p in self.partitions if p.group == group), None)


class PushManifest(FrozenModel):
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


class FeatureAudit(FrozenModel):
    """One feature over the stored rows that were compared."""

    mismatched: int = Field(ge=0, description="rows in which what is served differs from the offline value")
    smape: float = Field(ge=0, le=1, description="mean of |served - offline| / (|served| + |offline|)")


class ServedAudit(FrozenModel):
    """Rows that requests of the hour were answered with, against the offline partition that they name."""

    rows: int = Field(default=0, ge=0, description="logged for requests of the hour")
    compared: int = Field(default=0, ge=0)
    mismatched: int = Field(default=0, ge=0)
    defaults: int = Field(default=0, ge=0, description="of those compared: the registry's defaults, for want of a row")
    unknown: int = Field(default=0, ge=0, description="of an hour or a layout that is not there any more")
    features: dict[str, int] = Field(default_factory=dict, description="feature -> rows in which it differs")


class GroupAudit(FrozenModel):
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


class AuditManifest(FrozenModel):
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
