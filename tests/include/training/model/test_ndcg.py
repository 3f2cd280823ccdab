"""NDCG@10, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.model import ndcg


def one(gain: list[float], score: list[float]) -> float:
    return float(ndcg.per_query(np.zeros(len(gain), dtype=np.int64), np.array(gain), np.array(score))[0])


def test_gain_is_linear_and_the_discount_logarithmic() -> None:
    ideal = 5 / math.log2(2) + 1 / math.log2(3)
    assert one([1, 5, 0], [3, 2, 1]) == pytest.approx((1 / math.log2(2) + 5 / math.log2(3)) / ideal)


def test_only_ten_places_count() -> None:
    gain = [0.0] * 10 + [1.0]
    assert one(gain, [-float(i) for i in range(11)]) == 0
    assert one(gain, [float(i) for i in range(11)]) == 1


def test_tied_ads_share_their_places_whatever_the_row_order() -> None:
    expected = (1 / math.log2(2) + 1 / math.log2(3)) / 2
    assert one([1, 0], [7, 7]) == pytest.approx(expected)
    assert one([0, 1], [7, 7]) == pytest.approx(expected), "the logged order must not flatter a tie"


def test_a_query_without_a_positive_has_no_value_and_does_not_count() -> None:
    query = np.array([0, 0, 1, 1, 2])
    found = ndcg.per_query(query, np.array([0.0, 0, 0, 1, 0]), np.array([1.0, 2, 1, 2, 1]))
    assert np.isnan(found).tolist() == [True, False, True]
    assert ndcg.mean(found) == 1
    with pytest.raises(ValueError, match="no query has a positive"):
        ndcg.mean(found[:1])


def test_queries_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(1)
    query = rng.integers(0, 20, 300)
    gain, score = rng.integers(0, 4, 300).astype(float), rng.integers(0, 5, 300).astype(float)
    together = ndcg.per_query(query, gain, score)
    for q in range(20):
        assert together[q] == pytest.approx(one(gain[query == q].tolist(), score[query == q].tolist()))


def test_the_interval_is_seeded_and_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        other = rng.normal(size=150)
        found = ndcg.paired_difference(other + rng.normal(0.1, 1.0, 150), other, np.ones(150), 0.95, 400, seed=trial)
        covered += found.lower <= 0.1 <= found.upper
    assert 0.90 <= covered / 200 <= 0.99
    one, two, weight = rng.random((3, 50))
    again = [ndcg.paired_difference(one, two, weight, 0.95, 50, seed=1) for _ in range(2)]
    assert again[0] == again[1]


def test_queries_count_by_their_weight() -> None:
    found = ndcg.paired_difference(np.array([1.0, 0, np.nan]), np.zeros(3), np.array([3.0, 1, 9]), 0.95, 50, seed=1)
    assert found.mean == 0.75
