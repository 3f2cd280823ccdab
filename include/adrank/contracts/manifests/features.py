"""Manifests of computed features, and of what they are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from adrank.contracts.base import FrozenModel


class FeatureManifest(FrozenModel):
    """One revision of one feature partition. ``content_digest`` covers sorted rows, not file bytes.

    ``raw_state`` digests the revisions of the raw hours that give this content (:mod:`adrank.decisions.lateness`).
    """

    group: str
    hour: datetime
    revision: int = Field(default=0, ge=0)
    available_at: datetime
    fingerprint: str
    rows: int = Field(ge=0)
    content_digest: str
    files: tuple[str, ...]
    raw_state: str = ""


PartState = Literal["success", "failed", "skipped"]


class PartOutcome(FrozenModel):
    """What came of one part of a feature application. ``detail`` is one line: what it did, or why it failed."""

    name: str
    state: PartState
    seconds: float = Field(ge=0)
    detail: str


class FeatureRun(FrozenModel):
    """What one run has done for an hour, as far as it came: the parts that have ended, in the order of their ends.

    ``revised_from`` is the first hour that late events had outdated, noted before any is revised.
    """

    hour: datetime
    run: str
    revised_from: datetime | None = None
    parts: tuple[PartOutcome, ...] = ()


class TileManifest(FrozenModel):
    """What one feature group counted in one hour of the raw log. ``raw`` is the digest of the raw hour."""

    group: str
    hour: datetime
    counts: str = Field(description="fingerprint of what is counted, and how")
    raw: str
    files: tuple[str, ...]


class RollupManifest(FrozenModel):
    """The sum of the tiles of one day. ``tiles`` are the ``raw`` of those that were added, by hour of the day."""

    group: str
    day: datetime
    counts: str
    tiles: tuple[str, ...]
    files: tuple[str, ...]


class WindowManifest(FrozenModel):
    """A group's windows at the end of an hour: a cache of sums over tiles.

    ``raw`` digests the raw hours that could still have changed since older windows were made.
    """

    group: str
    hour: datetime
    counts: str
    raw: str
    files: tuple[str, ...]


def rows_digest(row_digests: Iterable[str]) -> str:
    """SHA-256 over sorted row digests: independent of file names, file count and row order."""
    total = hashlib.sha256()
    for digest in sorted(row_digests):
        total.update(digest.encode())
    return total.hexdigest()
