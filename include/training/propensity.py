"""Examination propensity of the positions of a training split, for weighing answers by its inverse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adrank.ranking.examination import curve, fit


def examination(
    ad: NDArray[np.int64], position: NDArray[np.int64], click: NDArray[np.int64], floor: float
) -> NDArray[np.float64]:
    """Examination of positions 1, 2, ... relative to the first, ``[positions]``, not rising and at least ``floor``.

    All arguments are ``[impressions]``; ``ad`` holds numbers 0, 1, ..., ``position`` is 1-based.

    :raises ValueError: there is no click to learn from
    """
    return curve(fit(ad, position, np.ones(len(ad), dtype=np.int64), click), floor)
