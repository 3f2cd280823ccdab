"""Paired per-query comparison with a seeded bootstrap interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adrank.decisions.gate import Difference


def difference(
    candidate: NDArray[np.float64],
    other: NDArray[np.float64],
    weight: NDArray[np.float64],
    confidence: float,
    samples: int,
    seed: int,
) -> Difference:
    """Weighted mean of ``candidate - other`` over queries, with the percentile interval of the resampled mean.

    All are ``[queries]``; the NDCGs are of the same queries, NaN (in both) where a query has no positive.
    """
    known = ~np.isnan(candidate - other)
    paired, weight = (candidate - other)[known], weight[known]
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    for sample in range(samples):
        drawn = generator.integers(0, len(paired), len(paired))
        means[sample] = np.average(paired[drawn], weights=weight[drawn])
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Difference(mean=float(np.average(paired, weights=weight)), lower=float(lower), upper=float(upper))
