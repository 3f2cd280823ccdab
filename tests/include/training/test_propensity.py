"""Examination is recovered from a log, also from one whose logger knew which ads are better."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluate import examination

TRUTH = np.arange(1, 11) ** -0.7


def log(sorted_by_relevance: float, seed: int = 3) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """20,000 lists of ten of 200 ads; the logger's order is relevance times ``sorted_by_relevance`` plus noise."""
    generator = np.random.default_rng(seed)
    relevance = generator.beta(2, 8, size=200)
    ads = generator.permuted(np.tile(np.arange(200), (20_000, 1)), axis=1)[:, :10]
    noise = generator.normal(scale=relevance.std(), size=ads.shape)
    order = np.argsort(-(sorted_by_relevance * relevance[ads] + noise), axis=1)
    shown = np.take_along_axis(ads, order, axis=1)
    clicks = generator.random(shown.shape) < relevance[shown] * TRUTH
    positions = np.tile(np.arange(1, 11), (len(ads), 1))
    return shown.ravel(), positions.ravel(), clicks.ravel().astype(np.int64)


def test_a_random_logger_shows_examination_as_it_is() -> None:
    assert examination(*log(0.0), floor=0.01) == pytest.approx(TRUTH, rel=0.08)


def test_a_logger_that_shows_better_ads_higher_does_not_pass_for_examination() -> None:
    ad, position, click = log(1.5)
    naive = np.array([click[position == k].mean() for k in range(1, 11)])
    assert (naive / naive[0])[-1] < 0.75 * TRUTH[-1], "the raw click rate by position confounds the two"
    assert examination(ad, position, click, floor=0.01) == pytest.approx(TRUTH, rel=0.08)


def test_examination_never_rises_and_never_falls_below_its_floor() -> None:
    estimated = examination(*log(0.0), floor=0.3)
    assert np.all(np.diff(estimated) <= 0)
    assert estimated.min() == 0.3


def test_a_log_without_clicks_is_refused() -> None:
    ad, position, click = log(0.0)
    with pytest.raises(ValueError, match="no click"):
        examination(ad, position, np.zeros_like(click), floor=0.1)
