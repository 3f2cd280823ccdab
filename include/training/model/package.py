"""Writes model packages: what :func:`adrank.ranking.ranker.load_package` reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adrank.contracts import packages
from adrank.ranking.ranker import load_package


def write(
    directory: Path,
    card: packages.PackageCard,
    golden_vectors: NDArray[np.float32],
    metrics: Mapping[str, Any],
    model_text: str | None = None,
) -> str:
    """Write a package and return its digest. ``golden_vectors`` is ``[n, features]``, NaN for missing.

    The golden scores are those of the package as written and loaded again, not of the model in memory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / packages.CARD).write_text(card.model_dump_json(indent=2), encoding="utf-8")
    if model_text is not None:
        (directory / packages.MODEL).write_text(model_text, encoding="utf-8")
    (directory / packages.METRICS).write_text(json.dumps(metrics, indent=2, sort_keys=True), encoding="utf-8")
    golden = packages.GoldenRequests(
        vectors=tuple(tuple(None if math.isnan(v) else float(v) for v in row) for row in golden_vectors),
        scores=tuple(float(score) for score in load_package(directory).score(golden_vectors)),
    )
    (directory / packages.GOLDEN).write_text(golden.model_dump_json(indent=2), encoding="utf-8")
    return packages.package_digest(directory)


def golden_matrix(golden: packages.GoldenRequests) -> NDArray[np.float32]:
    """Golden vectors as ``[n, features]`` float32, NaN for missing."""
    return np.array([[math.nan if v is None else v for v in row] for row in golden.vectors], dtype=np.float32)
