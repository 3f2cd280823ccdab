"""Tiny, real model packages."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np

from adrank.contracts import packages, registry
from adrank.contracts.packages import GoldenRequests, PackageCard
from adrank.ranking.ranker import load_package

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
    directory.mkdir(parents=True)
    (directory / packages.MODEL).write_text(booster.model_to_string())
    golden = vectors[:8]
    scores = np.asarray(booster.predict(golden, num_threads=1))
    rows = tuple(tuple(None if np.isnan(v) else float(v) for v in row) for row in golden)
    _describe(directory, "lambdarank", features, GoldenRequests(vectors=rows, scores=tuple(scores.tolist())))
    return packages.package_digest(directory)


def fixed_slots_package(directory: Path) -> str:
    """The incumbent, which needs no store; returns the package's digest."""
    directory.mkdir(parents=True)
    _describe(directory, "fixed_slots", ("context.slot",), GoldenRequests(vectors=((1.0,), (2.0,)), scores=(-1, -2)))
    return packages.package_digest(directory)


def _describe(directory: Path, ranker: str, features: tuple[str, ...], golden: GoldenRequests) -> None:
    card = PackageCard.model_validate(
        {"ranker": ranker, "features": features, "fingerprint": registry.load().fingerprint}
    )
    (directory / packages.CARD).write_text(card.model_dump_json())
    (directory / packages.GOLDEN).write_text(golden.model_dump_json())
    load_package(directory)
