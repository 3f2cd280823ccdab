"""Examination propensity by position, estimated from the log itself.

Position-based model: a click on ad ``a`` at position ``k`` comes at rate ``relevance_a * examination_k``. The Poisson
fixed-effects fit compares each ad only with itself at other positions, so that a logger that shows better ads higher
does not pass for examination; it needs ads that were seen at several positions. See Agarwal et al., "Estimating
Position Bias without Intrusive Interventions", WSDM 2019.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 200
_TOLERANCE: Final = 1e-6
#: Clicks added to every position, at the pooled rate: a position with few clicks stays near its neighbours.
_PRIOR_CLICKS: Final = 5.0


def examination(
    ad: NDArray[np.int64], position: NDArray[np.int64], click: NDArray[np.int64], floor: float
) -> NDArray[np.float64]:
    """Examination of positions 1, 2, ... relative to the first, ``[positions]``, not rising and at least ``floor``.

    All arguments are ``[impressions]``; ``ad`` holds numbers 0, 1, ..., ``position`` is 1-based.

    :raises ValueError: there is no click to learn from
    """
    if not click.any():
        raise ValueError("no click: examination cannot be estimated")
    place = position - 1
    ads, places = int(ad.max()) + 1, int(place.max()) + 1
    clicks_of_ad = np.bincount(ad, weights=click, minlength=ads)
    clicks_at = np.bincount(place, weights=click, minlength=places)
    rate = np.full(places, 1.0)
    for _ in range(_ROUNDS):
        exposure = np.bincount(ad, weights=rate[place], minlength=ads)
        relevance = np.divide(clicks_of_ad, exposure, out=np.zeros(ads), where=exposure > 0)
        expected = np.bincount(place, weights=relevance[ad], minlength=places)
        pooled = clicks_at.sum() / max(expected.sum(), _TOLERANCE)
        prior = _PRIOR_CLICKS / max(pooled, _TOLERANCE)
        updated = (clicks_at + _PRIOR_CLICKS) / (expected + prior)
        updated /= updated[0]
        change = float(np.abs(updated - rate).max())
        rate = updated
        if change < _TOLERANCE:
            break
    return np.clip(np.minimum.accumulate(rate), floor, 1.0)
