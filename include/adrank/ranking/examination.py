"""How often each position is looked at, estimated from clicks.

Position-based model: a click on ad ``a`` at position ``k`` comes at rate ``relevance_a * examination_k``. The Poisson
fixed-effects fit compares each ad only with itself at other positions, so that a logger that shows better ads higher
does not pass for examination; it needs ads that were seen at several positions. See Agarwal et al., "Estimating
Position Bias without Intrusive Interventions", WSDM 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 200
_TOLERANCE: Final = 1e-6
#: Clicks added to every position, at the pooled rate: a position with few clicks stays near its neighbours.
_PRIOR_CLICKS: Final = 5.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Evidence(NamedTuple):
    """``[positions]``: clicks at positions 1, 2, ..., and how many there would be if all were looked at alike."""

    clicks: Floats
    expected: Floats


def fit(ad: Ints, position: Ints, impressions: Ints, clicks: Ints) -> Evidence:
    """What pairs of ad and position say. All arguments are ``[pairs]``: ``ad`` numbers 0, 1, ..., ``position`` 1-based.

    :raises ValueError: there is no click to learn from
    """
    if not clicks.any():
        raise ValueError("no click: examination cannot be estimated")
    place = position - 1
    ads, places = int(ad.max()) + 1, int(place.max()) + 1
    clicks_of_ad = _summed(ad, clicks, ads)
    clicks_at = _summed(place, clicks, places)
    rate = np.full(places, 1.0)
    expected = np.zeros(places)
    for _ in range(_ROUNDS):
        exposure = _summed(ad, impressions * rate[place], ads)
        relevance = np.divide(clicks_of_ad, exposure, out=np.zeros(ads), where=exposure > 0)
        expected = _summed(place, impressions * relevance[ad], places)
        updated = _rates(Evidence(clicks_at, expected))
        change = float(np.abs(updated - rate).max())
        rate = updated
        if change < _TOLERANCE:
            break
    return Evidence(clicks_at, expected)


def together(evidence: Sequence[Evidence]) -> Evidence:
    """The sum of what several fits say; each may know of other positions."""
    places = max(len(each.clicks) for each in evidence)
    total = Evidence(np.zeros(places), np.zeros(places))
    for each in evidence:
        total.clicks[: len(each.clicks)] += each.clicks
        total.expected[: len(each.expected)] += each.expected
    return total


def curve(evidence: Evidence, floor: float) -> Floats:
    """Examination of positions 1, 2, ... relative to the first, ``[positions]``, not rising and at least ``floor``."""
    falling: Floats = np.clip(np.minimum.accumulate(_rates(evidence)), floor, 1.0)
    return falling


def _summed(index: Ints, weights: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.bincount(index, weights=weights, minlength=size), dtype=np.float64)


def _rates(evidence: Evidence) -> Floats:
    pooled = evidence.clicks.sum() / max(evidence.expected.sum(), _TOLERANCE)
    prior = _PRIOR_CLICKS / max(pooled, _TOLERANCE)
    rates: Floats = (evidence.clicks + _PRIOR_CLICKS) / (evidence.expected + prior)
    rates /= rates[0]
    return rates
