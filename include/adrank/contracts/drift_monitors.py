"""What is compared of each feature to tell whether its distribution has drifted: shares of bins, share missing.

Bins follow from the registered range alone, so that two comparisons years apart are of the same bins: tenths of a range
that is no wider than 1, else steps of 1, 3, 10, 30 … to either side of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adrank.contracts.base import FrozenModel
from adrank.contracts.registry import Registry

_NARROW: Final = 1
_FINEST: Final = -1


class DriftMonitor(FrozenModel):
    """``edges`` part the bins; the first bin is all below the first edge, the last all from the last edge on."""

    group: str
    feature: str
    edges: tuple[float, ...]
    missing: bool


def monitors(registry: Registry) -> tuple[DriftMonitor, ...]:
    """One monitor for each feature, in serving-vector order; ``missing`` only where a feature may be."""
    return tuple(
        DriftMonitor(
            group=group.name, feature=feature.name, edges=_edges(*feature.range), missing=feature.default is None
        )
        for group in registry.groups
        for feature in group.features
    )


def _edges(low: float, high: float) -> tuple[float, ...]:
    if high - low <= _NARROW:
        return tuple(low + (high - low) * tenth / 10 for tenth in range(1, 10))
    steps = list(_steps(max(-low, high)))
    return tuple(edge for edge in (*(-step for step in reversed(steps)), 0.0, *steps) if low < edge < high)


def _steps(limit: float) -> Iterator[float]:
    power = _FINEST
    while 10.0**power <= limit:
        yield 10.0**power
        yield 3 * 10.0**power
        power += 1
