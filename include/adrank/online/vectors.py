"""From packed online rows to serving vectors, without touching a value in Python.

Training reads the same features by name from the lake; here they are put in the order that a model's card names,
so that a model sees online what it saw offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adrank.contracts.online_layout import HEADER
from adrank.contracts.registry import Feature, FeatureGroup, Registry
from adrank.ranking.ranker import CONTEXT_PREFIX

Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
Seconds = NDArray[np.int64]


class UnknownFeatureError(RuntimeError):
    """A model asks for features that neither the registry nor the request can give before the ad is shown."""


def servable(registry: Registry) -> tuple[Feature, ...]:
    """The stored features that a ranker may learn from and be served, in serving-vector order.

    What is known only after an impression can be computed and looked at, but a ranker never sees it.
    """
    return tuple(f for f in registry.features if f.known_before_impression)


@dataclass(frozen=True, slots=True)
class GroupRows:
    """One group's values for the entities of a request.

    ``values`` is float32 [entities, features of the group] with defaults filled in. The masks [entities] say which
    rows are defaults: no row (or none that could be read), a row too old, a row of another layout (also missing).
    ``as_of`` [entities] is the hour end (epoch seconds) that a row was pushed for, where it is not missing.
    """

    values: Matrix
    missing: Mask
    stale: Mask
    mismatched: Mask
    as_of: Seconds


class GroupDecoder:
    """Reads packed rows of one group, many at a time."""

    def __init__(self, group: FeatureGroup) -> None:
        self.group = group
        self._row = np.dtype([("layout", ">u8"), ("as_of", ">i8"), ("values", "<f4", (len(group.features),))])
        self._layout = int.from_bytes(bytes.fromhex(group.fingerprint)[:8], "big")
        self._defaults = np.array([f.default_value for f in group.features], dtype=np.float32)
        self._blank = bytes(self._row.itemsize)
        if self._row.itemsize != HEADER.size + 4 * len(group.features):
            raise AssertionError("the decoder's row differs from adrank.contracts.online_layout")

    def decode(self, packed: Sequence[bytes | None], event_time: float | None = None) -> GroupRows:
        """Unpack rows in order; ``event_time`` (epoch seconds) makes rows older than the group's TTL stale."""
        size, blank = self._row.itemsize, self._blank
        joined = b"".join([row if row is not None and len(row) == size else blank for row in packed])
        rows = np.frombuffer(joined, dtype=self._row)
        usable: Mask = rows["layout"] == self._layout
        absent = np.fromiter((row is None for row in packed), dtype=np.bool_, count=len(packed))
        missing = ~usable
        stale: Mask = np.zeros(len(packed), dtype=np.bool_)
        if event_time is not None:
            stale = usable & (rows["as_of"] < event_time - self.group.ttl_hours * 3600)
            usable = usable & ~stale
        values: Matrix = np.where(usable[:, None], rows["values"], self._defaults).astype(np.float32, copy=False)
        return GroupRows(values, missing, stale, missing & ~absent, rows["as_of"])

    def defaults(self, entities: int) -> GroupRows:
        """What is served when the group's store cannot be read."""
        none: Mask = np.zeros(entities, dtype=np.bool_)
        return GroupRows(np.tile(self._defaults, (entities, 1)), ~none, none, none, np.zeros(entities, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _GroupColumns:
    name: str
    source: Indices
    target: Indices


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """Where each feature of a model's card comes from. ``groups`` are the only ones that need fetching."""

    features: tuple[str, ...]
    groups: tuple[FeatureGroup, ...]
    _columns: tuple[_GroupColumns, ...]
    _context: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, registry: Registry, features: Sequence[str]) -> Self:
        """The layout of a card's ``features``; names that nobody can give are refused."""
        declared, rankable = {f.name for f in registry.features}, {f.name for f in servable(registry)}
        unknown = [f for f in features if f not in declared and not f.startswith(CONTEXT_PREFIX)]
        if unknown:
            raise UnknownFeatureError(f"neither registry nor request features: {', '.join(unknown)}")
        if late := [f for f in features if f in declared - rankable]:
            raise UnknownFeatureError(f"not known before an impression: {', '.join(late)}")
        place = {name: column for column, name in enumerate(features)}
        groups, columns = [], []
        for group in registry.groups:
            wanted = [(source, place[name]) for source, name in enumerate(group.names) if name in place]
            if wanted:
                groups.append(group)
                source, target = np.array(wanted, dtype=np.intp).T
                columns.append(_GroupColumns(group.name, source, target))
        context = tuple(
            (f.removeprefix(CONTEXT_PREFIX), column) for f, column in place.items() if f.startswith(CONTEXT_PREFIX)
        )
        return cls(tuple(features), tuple(groups), tuple(columns), context)

    def stored(self, vectors: Matrix) -> Iterator[tuple[FeatureGroup, tuple[str, ...], Matrix]]:
        """What serving vectors hold of each group: the names of its features that the model takes, their columns."""
        for group, columns in zip(self.groups, self._columns, strict=True):
            yield group, tuple(group.names[source] for source in columns.source), vectors[:, columns.target]

    def assemble(self, rows: Mapping[str, GroupRows], contexts: Sequence[Mapping[str, float | None]]) -> Matrix:
        """Serving vectors, float32 [candidates, features]; a context value that is absent or null is NaN."""
        vectors: Matrix = np.full((len(contexts), len(self.features)), np.nan, dtype=np.float32)
        for columns in self._columns:
            vectors[:, columns.target] = rows[columns.name].values[:, columns.source]
        for key, column in self._context:
            vectors[:, column] = [np.nan if (value := c.get(key)) is None else value for c in contexts]
        return vectors
