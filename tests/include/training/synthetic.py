"""A seeded log whose truth is known, as a ready training set: one feature tells which ad is clicked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.include.training.logs import HOUR, MINUTE, NOON, Log, Row, clicked, event, shown


def write_set(root: Path, *, queries: int = 300, told_by: str | None = "price", seed: int = 5) -> Path:
    """Lists of six in random order. The click follows the top of the list half of the time, else ``told_by``."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for q in range(queries):
        at = NOON + q * MINUTE
        value = rng.normal(size=6)
        best = int(value.argmax()) if told_by and rng.random() < 0.7 else 0
        for i in range(6):
            context = {"slot": i + 1.0, "price": float(value[i]), "noise": float(rng.integers(0, 3))}
            rows.append(shown(f"q{q}", f"ad{i}", at, i + 1, context=context))
        rows.append(clicked(f"q{q}", f"ad{best}", at + timedelta(seconds=5)))
        if q % 3 == 0:
            rows.append(event("contact", f"q{q}", f"ad{best}", at + timedelta(seconds=9)))
    log = Log(root)
    log.build(rows, as_of=NOON + queries * MINUTE + HOUR + HOUR, test_fraction=0.3)
    return log.output


def write_biased_set(root: Path, *, queries: int = 1500, seed: int = 6) -> Path:
    """Thirty ads shown in random order; users examine position k with 1/k, and prefer good ads only a little."""
    rng = np.random.default_rng(seed)
    relevance = np.linspace(0.25, 0.75, 30)
    rows: list[Row] = []
    for q in range(queries):
        at = NOON + q * MINUTE
        for i, ad in enumerate(rng.choice(30, 8, replace=False)):
            context = {"slot": i + 1.0, "quality": float(relevance[ad])}
            rows.append(shown(f"q{q}", f"ad{ad}", at, i + 1, context=context))
            if rng.random() < relevance[ad] / (i + 1):
                rows.append(clicked(f"q{q}", f"ad{ad}", at + timedelta(seconds=5 + i)))
    log = Log(root)
    log.build(rows, as_of=NOON + queries * MINUTE + HOUR + HOUR, test_fraction=0.4)
    return log.output
