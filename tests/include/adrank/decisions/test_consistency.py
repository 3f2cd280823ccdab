"""A skew is found in any of its forms, said with its numbers, and judged against the limit."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts.manifests import FeatureAudit, GroupAudit, ServedAudit
from adrank.decisions.consistency import interval, judge


def group(name: str = "ad_engagement", **found: Any) -> GroupAudit:
    return GroupAudit(group=name, **{"rows": 5000, "sampled": 5000, "scanned": 5000, **found})


def test_stores_that_serve_what_the_lake_holds_are_consistent() -> None:
    verdict = judge([group(), group("seller_stats")], 0)
    assert verdict.consistent
    assert verdict.skew == 0
    assert verdict.reasons[0] == "ad_engagement: 0 of 5000 sampled keys differ (0.00%): as offline"


@pytest.mark.parametrize("kind", ["mismatched", "missing", "stale", "other_layout"])
def test_a_key_may_differ_in_any_way(kind: str) -> None:
    features = {"clicks_7d": FeatureAudit(mismatched=51, smape=0.1)}
    verdict = judge([group(**{kind: 51}, features=features)], 0.01)
    assert not verdict.consistent
    assert verdict.skew == pytest.approx(0.0102)
    assert f"51 {kind.replace('other_layout', 'of another layout')}" in verdict.reasons[0]


def test_all_ways_add_up() -> None:
    assert judge([group(mismatched=20, missing=20, stale=20)], 1).skew == pytest.approx(0.012)


@pytest.mark.parametrize(("missing", "consistent"), [(50, True), (51, False)])
def test_a_share_at_the_limit_passes_and_one_above_it_does_not(missing: int, consistent: bool) -> None:
    verdict = judge([group(missing=missing)], 0.01)
    assert verdict.consistent is consistent
    assert ("above the limit of 1.00%" in verdict.reasons[0]) is not consistent


def test_one_group_is_enough_and_comes_first_in_the_reasons() -> None:
    verdict = judge([group(), group("seller_stats", rows=10, sampled=10, mismatched=1)], 0.01)
    assert not verdict.consistent
    assert verdict.reasons[0].startswith("seller_stats: 1 of 10 sampled keys differ (10.00%), above the limit")


def test_the_feature_that_differs_most_is_named() -> None:
    features = {
        "clicks_7d": FeatureAudit(mismatched=3, smape=0.1),
        "ctr_7d": FeatureAudit(mismatched=7, smape=0.1),
    }
    assert "7 mismatched; most in ctr_7d (7)" in judge([group(mismatched=7, features=features)], 1).reasons[0]


def test_a_share_of_a_sample_is_told_with_its_interval_and_one_of_all_rows_is_not() -> None:
    assert "(1.00%, 95 % interval 0.76% to 1.32%)" in judge([group(rows=10**6, missing=50)], 1).reasons[0]
    assert "interval" not in judge([group(missing=50)], 1).reasons[0]


def test_the_interval_holds_the_share_and_narrows_with_the_sample() -> None:
    few, many = interval(1, 100), interval(100, 10_000)
    assert few[0] < many[0] < 0.01 < many[1] < few[1]
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == 1


def test_keys_without_an_offline_row_count_against_those_met() -> None:
    verdict = judge([group(scanned=200, extra=3)], 0.01)
    assert not verdict.consistent
    assert verdict.reasons[0].startswith("ad_engagement: 3 of 200 keys in the store differ (1.50%)")


def test_served_rows_count_too() -> None:
    served = ServedAudit(rows=400, compared=100, mismatched=2, features={"ctr_7d": 2})
    verdict = judge([group(served=served)], 0.01)
    assert not verdict.consistent
    assert "2 of 100 served rows differ" in verdict.reasons[0]
    assert "most in ctr_7d (2)" in verdict.reasons[0]


def test_served_defaults_and_rows_that_cannot_be_compared_are_told() -> None:
    served = ServedAudit(rows=400, compared=100, defaults=30, unknown=7)
    reason = "100 served rows differ (0.00%): none mismatched; 30 answered with defaults; 7 more cannot be compared"
    assert judge([group(served=served)], 0).reasons[1].endswith(reason)
    verdict = judge([group(served=ServedAudit(rows=7, unknown=7))], 0)
    assert verdict.consistent
    assert verdict.reasons[1] == "ad_engagement: no served row was compared, 7 cannot be"


def test_what_a_later_hour_overtook_is_not_judged() -> None:
    assert judge([group(sampled=100, newer=50, mismatched=1)], 0.01).skew == pytest.approx(0.02)
    verdict = judge([group(sampled=100, newer=100)], 0)
    assert verdict.consistent
    assert verdict.reasons == ("ad_engagement: no key was compared, 100 are of a later hour by now",)
