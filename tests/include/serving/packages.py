"""A tiny, real model package."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np

from adrank.contracts import registry
from adrank.contracts.packages import PackageCard
from training.model import package

FEATURES = (*(f.name for f in registry.load().features), "context.query_match")


def learned_package(directory: Path, seed: int = 1, features: tuple[str, ...] = FEATURES) -> str:
    """Train a lambdarank model that likes clicks and query matches; returns the package's digest."""
    random = np.random.default_rng(seed)
    vectors = random.random((400, len(features))).astype(np.float32) * 50
    vectors[random.random(vectors.shape) < 0.1] = np.nan
    liking = np.nan_to_num(vectors[:, 1]) + np.nan_to_num(vectors[:, -1])
    data = lightgbm.Dataset(vectors, label=np.digitize(liking, [30, 60]), group=[20] * 20)
    booster = lightgbm.train(
        {"objective": "lambdarank", "num_leaves": 7, "seed": seed, "verbose": -1, "num_threads": 1, "min_data": 5},
        data,
        num_boost_round=10,
    )
    card = PackageCard(ranker="lambdarank", features=features, fingerprint=registry.load().fingerprint)
    return package.write(directory, card, vectors[:8], {}, booster.model_to_string())
