"""Paired per-query comparison with a seeded bootstrap interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adrank.decisions.gate import Difference


def difference(
    candidate: NDArray[np.float64], other: NDArray[np.float64], confidence: float, samples: int, seed: int
) -> Difference:
    """Mean of ``candidate - other`` over queries, with the percentile interval of the resampled mean.

    Both are NDCGs ``[queries]`` on the same queries, NaN (in both) where a query has no positive.
    """
    paired = candidate - other
    paired = paired[~np.isnan(paired)]
    generator = np.random.default_rng(seed)
    means = np.array([paired[generator.integers(0, len(paired), len(paired))].mean() for _ in range(samples)])
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Difference(mean=float(paired.mean()), lower=float(lower), upper=float(upper))
