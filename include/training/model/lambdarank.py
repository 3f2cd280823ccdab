"""LambdaMART by LightGBM: deterministic, and sized to the log by time-ordered folds.

Three things that a straightforward ``lgb.train`` gets wrong on logged lists:

- Rows arrive in logged order, and LightGBM breaks ties by row order, in its lambdas and in its metric. The logged
  position leaks in. Rows are shuffled within their query first, and rounds are chosen by our own NDCG.
- A small log overfits at any fixed size. Rounds and tree size are chosen on expanding by-time folds of the training
  split, never on the test split.
- Queries without a positive carry no pair, and LightGBM's NDCG calls them perfect. They are dropped.

Position debiasing (``position=`` of the Dataset) is off: on real logs with a relevance-ordered incumbent it lost NDCG.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from adrank.contracts.entry_points.training import Hyperparameters
from training.dataset.training_set import Split
from training.model import ndcg

#: The chosen tree size is one of these fractions of ``num_leaves``.
_TREE_SIZES: Final = (1, 2, 4)
#: How many numbers of rounds the folds choose between.
_CHECKPOINTS: Final = 30
_MAX_GRADE: Final = 30
#: Below this many rows a thread pool gains nothing, and on a busy machine its spinning costs a multiple.
_ROWS_WORTH_THREADS: Final = 500_000


@dataclass(frozen=True)
class ModelSize:
    """The size that the folds chose."""

    rounds: int
    num_leaves: int
    ndcg_at_10: float


@dataclass(frozen=True)
class Fold:
    """One by-time fold: trained on everything before its block, judged on the block."""

    start: int
    queries: int
    positive_queries: int
    ndcg_at_10: float
    logged_order_ndcg_at_10: float


def logged_order(split: Split) -> NDArray[np.float64]:
    """Scores that reproduce the logged order."""
    return -split.position.astype(np.float64)


def relevance(split: Split, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """NDCG@10 of each query, graded by the objective label."""
    return ndcg.per_query(split.query, split.grade.astype(np.float64), score)


def select_size(train: Split, parameters: Hyperparameters) -> ModelSize:
    """Pick rounds and tree size by mean NDCG@10 over expanding by-time folds of the training split.

    A log too small to fold (fewer than two positive queries a block) keeps the smallest size.
    """
    blocks = max(parameters.folds, 2)
    positives = train.with_positives()
    sizes = sorted({max(2, parameters.num_leaves // divisor) for divisor in _TREE_SIZES})
    step = max(1, parameters.num_boost_round // _CHECKPOINTS)
    checkpoints = list(range(step, parameters.num_boost_round + 1, step))
    if positives.queries < 2 * blocks:
        return ModelSize(checkpoints[0], sizes[0], float("nan"))
    block = positives.query * blocks // positives.queries
    best: ModelSize | None = None
    for leaves in sizes:
        curves = []
        for k in range(1, blocks):
            model = fit(positives.where(block < k), parameters, parameters.num_boost_round, leaves)
            curves.append(_curve(model, positives.where(block == k), checkpoints))
        means = np.concatenate(curves, axis=1).mean(axis=1)
        at = int(means.argmax())
        if best is None or means[at] > best.ndcg_at_10:
            best = ModelSize(checkpoints[at], leaves, float(means[at]))
    assert best is not None
    return best


def fold_report(train: Split, test: Split, model: Any, size: ModelSize, parameters: Hyperparameters) -> list[Fold]:
    """The model against the logged order, fold by fold in time; the last fold is the test split with the model itself.

    The earlier folds also chose the size, so they lean towards the model; the last one does not.
    """
    blocks = parameters.folds
    block = train.query * blocks // train.queries
    folds = []
    for k in range(1, blocks):
        before, inside = train.where(block < k), train.where(block == k)
        if before.with_positives().queries and inside.with_positives().queries:
            folds.append(_judge(fit(before.with_positives(), parameters, size.rounds, size.num_leaves), inside))
    return [*folds, _judge(model, test)]


def fit(positives: Split, parameters: Hyperparameters, rounds: int, num_leaves: int) -> Any:
    """Train a booster on queries that have positives."""
    rows = _shuffled_within_queries(positives, parameters.seed)
    dataset = lightgbm.Dataset(rows.features, rows.grade, group=np.bincount(rows.query))
    threads = (os.cpu_count() or 1) if len(rows.query) >= _ROWS_WORTH_THREADS else 1
    return lightgbm.train({**_lightgbm_parameters(parameters, num_leaves), "num_threads": threads}, dataset, rounds)


def model_text(model: Any) -> str:
    """The model as LightGBM text, without the number of threads that happened to train it."""
    return re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 0]", model.model_to_string(), flags=re.MULTILINE)


def _lightgbm_parameters(parameters: Hyperparameters, num_leaves: int) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "label_gain": list(range(_MAX_GRADE + 1)),
        # Normalised, easy queries pull as hard as telling ones; without it NDCG was higher on every fold measured.
        "lambdarank_norm": False,
        "lambdarank_truncation_level": 30,
        "learning_rate": parameters.learning_rate,
        "num_leaves": num_leaves,
        "min_data_in_leaf": parameters.min_data_in_leaf,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": parameters.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _curve(model: Any, split: Split, checkpoints: list[int]) -> NDArray[np.float64]:
    """NDCG@10 ``[checkpoints, queries]`` as rounds are added."""
    score = np.zeros(len(split.query))
    done, curve = 0, []
    for rounds in checkpoints:
        if rounds <= model.current_iteration():
            score += model.predict(split.features, start_iteration=done, num_iteration=rounds - done, raw_score=True)
        done = rounds
        curve.append(relevance(split, score))
    return np.array(curve)


def _judge(model: Any, split: Split) -> Fold:
    reached, logged = relevance(split, model.predict(split.features)), relevance(split, logged_order(split))
    return Fold(
        start=int(split.query_time.min()),
        queries=split.queries,
        positive_queries=int((~np.isnan(reached)).sum()),
        ndcg_at_10=ndcg.mean(reached),
        logged_order_ndcg_at_10=ndcg.mean(logged),
    )


def _shuffled_within_queries(split: Split, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(split.query))
    return split.take(order[np.argsort(split.query[order], kind="stable")])
