"""Compares what the online stores serve with the offline rows of the same entities, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adrank.contracts.registry import FeatureGroup
from adrank.online.vectors import GroupRows, Mask, Matrix


@dataclass(frozen=True, slots=True)
class Comparison:
    """Masks over the entities [n]. ``newer`` rows are left out of all others, which exclude each other.

    ``differing`` [n, features] and ``smape`` [features] are over the rows that were compared, with what is served for
    a row that is missing, stale or of another layout: the registry's defaults.
    """

    newer: Mask
    missing: Mask
    other_layout: Mask
    stale: Mask
    mismatched: Mask
    differing: Mask
    smape: Matrix


def compare(offline: Matrix, online: GroupRows, until: float) -> Comparison:
    """Compare rows in order; ``until`` (epoch seconds) is the end of the offline hour.

    A row that was pushed for an hour before it counts by its values: only rows that change are pushed.
    """
    newer = ~online.missing & (online.as_of > until)
    absent = online.missing & ~online.mismatched
    differing = differs(offline, online.values)
    broken = online.missing | online.stale
    differing[newer] = False
    return Comparison(
        newer=newer,
        missing=absent,
        other_layout=online.mismatched,
        stale=online.stale & ~newer,
        mismatched=differing.any(axis=1) & ~broken,
        differing=differing,
        smape=_smape(offline[~newer], online.values[~newer]),
    )


def extra(group: FeatureGroup, online: GroupRows, until: float) -> Mask:
    """Which rows [n] serve anything but the registry's defaults, given that offline there is no row of theirs."""
    defaults = np.array([[feature.default_value for feature in group.features]], dtype=np.float32)
    newer = ~online.missing & (online.as_of > until)
    return np.asarray(differs(np.broadcast_to(defaults, online.values.shape), online.values).any(axis=1) & ~newer)


def differs(left: Matrix, right: Matrix) -> Mask:
    """Where two float32 arrays of one shape have other bits; NaN is NaN, whatever its payload."""
    bits = np.ascontiguousarray(left).view(np.uint32) != np.ascontiguousarray(right).view(np.uint32)
    return np.asarray(bits & ~(np.isnan(left) & np.isnan(right)))


def entities_where(entities: Sequence[str], mask: Mask) -> list[str]:
    """The entities that a mask marks."""
    return [entity for entity, marked in zip(entities, mask.tolist(), strict=True) if marked]


def _smape(offline: Matrix, online: Matrix) -> Matrix:
    """Per feature [features]: mean of |a - b| / (|a| + |b|), which is 0 where they are equal, 1 where one is NaN."""
    if not len(offline):
        return np.zeros(offline.shape[1], dtype=np.float32)
    left, right = offline.astype(np.float64), online.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(left - right) / (np.abs(left) + np.abs(right))
    error[~differs(offline, online) | (left == right)] = 0
    error[np.isnan(left) != np.isnan(right)] = 1
    return np.asarray(np.nan_to_num(error, nan=1.0).mean(axis=0), dtype=np.float32)
