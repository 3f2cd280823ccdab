"""An audit as CloudWatch metrics, one value of each per group and hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from adrank.contracts import metrics as names
from adrank.contracts.manifests import AuditManifest, GroupAudit
from adrank.decisions import consistency

#: As many as one request may carry.
_BATCH: Final = 1000


def publish(cloudwatch: Any, audit: AuditManifest) -> None:
    """Put the metrics of all groups, stamped when they arrive: CloudWatch takes none that are far from its clock."""
    data = [datum for group in audit.groups for datum in _data(group)]
    for start in range(0, len(data), _BATCH):
        cloudwatch.put_metric_data(Namespace=names.FEATURES_NAMESPACE, MetricData=data[start : start + _BATCH])


def _data(group: GroupAudit) -> Iterator[dict[str, Any]]:
    counts = {
        names.ONLINE_COMPARED: group.compared,
        names.ONLINE_MISMATCHED: group.mismatched,
        names.ONLINE_MISSING: group.missing,
        names.ONLINE_STALE: group.stale + group.other_layout,
        names.ONLINE_EXTRA: group.extra,
        names.SERVED_COMPARED: group.served.compared,
        names.SERVED_MISMATCHED: group.served.mismatched,
        names.SERVED_DEFAULTS: group.served.defaults,
        names.SERVED_UNKNOWN: group.served.unknown,
    }
    of_group = (("Group", group.group),)
    for name, count in counts.items():
        yield _datum(name, count, "Count", of_group)
    yield _datum(names.ONLINE_SKEW, consistency.judge([group], 1).skew, "None", of_group)
    for feature, found in group.features.items():
        yield _datum(names.FEATURE_SMAPE, found.smape, "None", (*of_group, ("Feature", feature)))


def _datum(name: str, value: float, unit: str, dimensions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    listed = [{"Name": key, "Value": text} for key, text in dimensions]
    return {"MetricName": name, "Dimensions": listed, "Value": value, "Unit": unit}
