"""Every feature is monitored, in bins that follow from its range alone."""

from __future__ import annotations

from adrank.contracts import registry
from adrank.contracts.drift_monitors import DriftMonitor, monitors
from adrank.contracts.registry import Feature, FeatureGroup, Registry

HERE = registry.load()


def monitor(low: float, high: float, default: float | None = None) -> DriftMonitor:
    feature = Feature(name="f", default=default, range=(low, high), description="x")
    group = HERE.groups[0].model_dump(exclude={"features"}) | {"features": (feature,)}
    (found,) = monitors(Registry(groups=(FeatureGroup.model_validate(group),)))
    return found


def test_every_feature_is_monitored_in_the_serving_vectors_order() -> None:
    assert [found.feature for found in monitors(HERE)] == [feature.name for feature in HERE.features]


def test_bins_lie_within_the_range_and_are_in_order() -> None:
    for found, feature in zip(monitors(HERE), HERE.features, strict=True):
        low, high = feature.range
        assert low < found.edges[0] < found.edges[-1] < high
        assert list(found.edges) == sorted(set(found.edges))


def test_a_rate_is_parted_into_tenths() -> None:
    assert [round(edge, 9) for edge in monitor(0, 1).edges] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_a_wide_range_is_parted_in_steps_that_grow_to_either_side() -> None:
    assert [round(edge, 9) for edge in monitor(-1, 100).edges] == [-0.3, -0.1, 0, 0.1, 0.3, 1, 3, 10, 30]


def test_a_share_missing_is_monitored_only_where_a_feature_may_be_missing() -> None:
    assert monitor(0, 1).missing
    assert not monitor(0, 1, default=0).missing
