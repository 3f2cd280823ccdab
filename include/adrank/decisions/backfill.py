"""A range of hours in chunks that are computed one after the other, and which of them still have work in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from adrank.contracts import registry, timestamps
from adrank.contracts.base import FrozenModel
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import floor_day, floor_hour
from adrank.decisions.lateness import RawLog


class BackfillRequest(FrozenModel):
    """What a person filled into the form. ``end`` is exclusive; only whole hours are computed."""

    start: datetime
    end: datetime
    groups: tuple[str, ...] = Field(min_length=1)
    engine: Literal["emr", "spark-submit"]
    chunk_days: int = Field(ge=1)
    recompute: bool

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, moment: datetime) -> datetime:
        return floor_hour(moment)

    @field_validator("groups")
    @classmethod
    def _exist(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        for name in groups:
            try:
                registry.load().group(name)
            except KeyError as error:
                raise ValueError(error.args[0]) from error
        return groups

    @model_validator(mode="after")
    def _spans_an_hour(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"there is no whole hour from {self.start.isoformat()} to {self.end.isoformat()}")
        return self


class Chunk(FrozenModel):
    """Whole hours ``[start, end)``."""

    start: datetime
    end: datetime

    @property
    def hours(self) -> list[datetime]:
        """Starts of its hours."""
        return list(timestamps.hours(self.start, self.end))


def chunks(request: BackfillRequest) -> list[Chunk]:
    """The range in order, cut at midnight (UTC) every ``chunk_days``: no two chunks share a day."""
    first, step = floor_day(request.start), timedelta(days=request.chunk_days)
    pieces = -((first - request.end) // step)
    cuts = [request.start, *(first + n * step for n in range(1, pieces)), request.end]
    return [Chunk(start=start, end=end) for start, end in pairwise(cuts)]


class GroupsChunk(Chunk):
    """A chunk and the groups that lack an hour of it."""

    groups: tuple[str, ...]


def side_by_side(lacking: Mapping[str, Iterable[Chunk]]) -> list[GroupsChunk]:
    """The chunks that any group lacks, in order, each with all groups that lack it in the order of ``lacking``."""
    groups: dict[Chunk, list[str]] = {}
    for name, chunks_of_group in lacking.items():
        for chunk in chunks_of_group:
            groups.setdefault(chunk, []).append(name)
    ordered = sorted(groups, key=lambda chunk: chunk.start)
    return [GroupsChunk(start=chunk.start, end=chunk.end, groups=tuple(groups[chunk])) for chunk in ordered]


def incomplete_chunks(
    group: FeatureGroup, planned: Iterable[Chunk], manifests: Iterable[FeatureManifest], log: RawLog
) -> list[Chunk]:
    """Those of ``planned`` of which an hour was not computed, or only in another layout than the group's or from
    another raw log than ``log``."""
    newest: dict[datetime, FeatureManifest] = {}
    for manifest in manifests:
        other = newest.get(manifest.hour)
        if other is None or other.revision < manifest.revision:
            newest[manifest.hour] = manifest
    whole: Collection[datetime] = {
        hour for hour, m in newest.items() if m.fingerprint == group.fingerprint and log.still_matches(group, m)
    }
    return [chunk for chunk in planned if any(hour not in whole for hour in chunk.hours)]
