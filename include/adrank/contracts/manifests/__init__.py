"""Manifests: the small JSON that says a partition is whole, and what is in it.

A manifest is written last. Readers trust nothing that no manifest names.
"""

from adrank.contracts.manifests.features import (
    FeatureManifest,
    FeatureRun,
    PartOutcome,
    PartState,
    RollupManifest,
    TileManifest,
    WindowManifest,
    rows_digest,
)
from adrank.contracts.manifests.online import (
    AuditManifest,
    FeatureAudit,
    GroupAudit,
    PushedHour,
    PushedPartition,
    PushManifest,
    ServedAudit,
)
from adrank.contracts.manifests.raw import (
    BillingManifest,
    BillingVerdict,
    CatalogueManifest,
    CdcManifest,
    DataFile,
    RawManifest,
)
from adrank.contracts.manifests.training import TrainingSetManifest

__all__ = [
    "AuditManifest",
    "BillingManifest",
    "BillingVerdict",
    "CatalogueManifest",
    "CdcManifest",
    "DataFile",
    "FeatureAudit",
    "FeatureManifest",
    "FeatureRun",
    "GroupAudit",
    "PartOutcome",
    "PartState",
    "PushManifest",
    "PushedHour",
    "PushedPartition",
    "RawManifest",
    "RollupManifest",
    "ServedAudit",
    "TileManifest",
    "TrainingSetManifest",
    "WindowManifest",
    "rows_digest",
]
