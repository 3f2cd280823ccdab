"""NDCG@10 per query and how two rankers differ in it: the one definition that training, gate and report use.

- Gain is linear in what is passed as gain. The grade is a weighted sum of the objectives already; the usual
  ``2^grade - 1`` would make a contact (grade 5 by default) worth 31 clicks where the settings say 5. On binary labels
  the two agree.
- A query without a positive has no NDCG and is left out. (LightGBM's own metric counts it as 1.)
- Equal scores share their places: a tie earns the mean over all orders of the tied ads, so no order of the rows, and
  least of all the logged one, flatters a model that cannot tell ads apart.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from adrank.decisions.gate import Difference

DEPTH: Final = 10


def per_query(
    query: NDArray[np.int64], gain: NDArray[np.float64], score: NDArray[np.float64], depth: int = DEPTH
) -> NDArray[np.float64]:
    """NDCG of each query, ``[queries]``; NaN where no gain is positive.

    All arguments are ``[rows]``; ``query`` holds numbers 0, 1, ... in any order, gains are not negative.
    """
    if not len(query):
        return np.empty(0)
    queries = int(query.max()) + 1
    ideal = _dcg(query, gain, gain, queries, depth)
    reached = _dcg(query, gain, score, queries, depth)
    ndcg = np.full(queries, np.nan)
    np.divide(reached, ideal, out=ndcg, where=ideal > 0)
    return ndcg


def mean(per_query_ndcg: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> float:
    """Mean over the queries that have a positive; each counts once, or by its weight.

    :raises ValueError: when there is none
    """
    present = ~np.isnan(per_query_ndcg)
    if not present.any():
        raise ValueError("no query has a positive")
    return float(np.average(per_query_ndcg[present], weights=None if weight is None else weight[present]))


def paired_difference(
    candidate: NDArray[np.float64],
    other: NDArray[np.float64],
    weight: NDArray[np.float64],
    confidence: float,
    samples: int,
    seed: int,
) -> Difference:
    """Weighted mean of ``candidate - other`` over queries, with the seeded bootstrap interval of that mean.

    All are ``[queries]``; the NDCGs are of the same queries, NaN (in both) where a query has no positive.
    """
    present = ~np.isnan(candidate - other)
    paired, weight = (candidate - other)[present], weight[present]
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    for sample in range(samples):
        drawn = generator.integers(0, len(paired), len(paired))
        means[sample] = np.average(paired[drawn], weights=weight[drawn])
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Difference(mean=float(np.average(paired, weights=weight)), lower=float(lower), upper=float(upper))


def _dcg(
    query: NDArray[np.int64], gain: NDArray[np.float64], score: NDArray[np.float64], queries: int, depth: int
) -> NDArray[np.float64]:
    order = np.lexsort((-score, query))
    query, gain, score = query[order], gain[order], score[order]
    first_of_query = np.searchsorted(query, np.arange(queries))
    place = np.arange(len(query)) - first_of_query[query]
    discount = np.where(place < depth, 1.0 / np.log2(place + 2.0), 0.0)
    new_tie = np.r_[True, (np.diff(query) != 0) | (np.diff(score) != 0)]
    tie = np.cumsum(new_tie) - 1
    shared = np.bincount(tie, weights=discount) / np.bincount(tie)
    return np.bincount(query, weights=gain * shared[tie], minlength=queries).astype(np.float64)
