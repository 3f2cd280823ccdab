"""Business events, counted as they pass: each event once, although it may be delivered more than once.

An event counts when it is durable, unless its id was seen among the last ones. The memory is bounded, so a duplicate
that comes very late counts again: these are the counters for dashboards and alerts at night, not the books.
"""

from __future__ import annotations

from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import Counter

from adrank.contracts.experiments import Variant

_REMEMBERED: Final = 500_000
_VARIANTS: Final = get_args(Variant)


class Recent:
    """Which of the last so many ids were seen. Two generations of hashes: the older one is forgotten whole."""

    def __init__(self, size: int = _REMEMBERED) -> None:
        self._size = size
        self._young = self._old = np.empty(0, dtype=np.int64)

    def first_seen(self, ids: pa.ChunkedArray) -> pa.Array:
        """For each id whether it is new."""
        hashes = np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))
        distinct, first = np.unique(hashes, return_index=True)
        known = _holds(self._young, distinct) | _holds(self._old, distinct)
        new = np.zeros(len(hashes), dtype=np.bool_)
        new[first[~known]] = True
        # Two sorted runs, which a stable sort merges in one pass.
        self._young = np.sort(np.concatenate([self._young, distinct[~known]]), kind="stable")
        if len(self._young) > self._size:
            self._old, self._young = self._young, self._young[:0]
        return pa.array(new)


def _holds(seen: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of ``wanted`` are in ``seen``; both are sorted."""
    if not len(seen):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    found: npt.NDArray[np.bool_] = seen[places] == wanted
    return found


class BusinessCounters:
    """Counts rows of the event schema."""

    def __init__(self, events: Counter, searches: Counter, revenue: Counter) -> None:
        self._events = events
        self._searches = searches
        self._revenue = revenue
        self._event_ids = Recent()
        self._search_ids = Recent()

    def count(self, table: pa.Table) -> None:
        """Count what is now durable."""
        rows = table.select(["event_type", "variant", "revenue", "search_id"])
        new = rows.filter(self._event_ids.first_seen(table["event_id"]))
        by_kind = new.group_by(["event_type", "variant"]).aggregate([([], "count_all"), ("revenue", "sum")])
        for group in by_kind.to_pylist():
            variant = _label(group["variant"])
            self._events.labels(group["event_type"], variant).inc(group["count_all"])
            if group["revenue_sum"]:
                self._revenue.labels(variant).inc(group["revenue_sum"])
        shown = new.filter(pc.equal(new["event_type"], "impression"))
        searches = shown.filter(self._search_ids.first_seen(shown["search_id"]))
        for group in searches.group_by("variant").aggregate([([], "count_all")]).to_pylist():
            self._searches.labels(_label(group["variant"])).inc(group["count_all"])


def _label(variant: str | None) -> str:
    """Few labels, whatever producers write."""
    if not variant:
        return "none"
    return variant if variant in _VARIANTS else "other"
