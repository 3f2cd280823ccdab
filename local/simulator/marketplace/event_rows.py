"""Raw event rows out of searches, the positions that were served, and what users did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.landing.event_table import EVENT_SCHEMA, context_maps
from simulator.marketplace.searches import Ints, Outcome, Reactions, Searches

_TIME: Final = pa.timestamp("us", tz="UTC")


class Exposure(NamedTuple):
    """Who ranked a search: what the router said."""

    model_version: str
    experiment_id: str = ""
    variant: str = ""


@dataclass(frozen=True)
class RankedSearches:
    """Searches with the position that each candidate got (0: not shown), and who ranked each search.

    ``ad_ids`` are those that the searches index. Wherever rows are made, ``rng`` draws how long each event took to be
    ingested.
    """

    searches: Searches
    ad_ids: npt.NDArray[np.str_]
    positions: Ints
    exposures: Sequence[Exposure]

    def events(self, reactions: Reactions, rng: np.random.Generator) -> pa.Table:
        """Impressions of every candidate with a position, then their clicks, contacts and sales."""
        return pa.concat_tables([self.impressions(rng), self.answers(reactions, rng)])

    def impressions(self, rng: np.random.Generator) -> pa.Table:
        """The first part of :meth:`events`."""
        n = len(self.searches.ads)
        shown = Outcome(self.positions > 0, np.zeros(n, dtype=np.int64), np.full(n, np.nan))
        return self._rows("impression", shown, rng)

    def answers(self, reactions: Reactions, rng: np.random.Generator) -> pa.Table:
        """The other part of :meth:`events`."""
        kinds = {"click": reactions.click, "contact": reactions.contact, "sale": reactions.sale}
        return pa.concat_tables([self._rows(kind, outcome, rng) for kind, outcome in kinds.items()])

    def _rows(self, kind: str, outcome: Outcome, rng: np.random.Generator) -> pa.Table:
        searches, rows = self.searches, np.flatnonzero(outcome.happened)
        search = searches.search_of[rows]
        times = searches.times[search] + outcome.delay[rows]
        columns = {
            "event_id": pa.array(_event_ids(kind, searches, search, rows), pa.string()),
            "event_type": pa.array([kind] * len(rows), pa.string()),
            "event_time": pa.array(times).cast(_TIME),
            "ingest_time": pa.array(times + (rng.exponential(2e6, len(rows))).astype(np.int64)).cast(_TIME),
            "user_id": _text(searches.user_ids, search),
            "session_id": _text(searches.session_ids, search),
            "search_id": _text(searches.search_ids, search),
            "ad_id": pa.array(self.ad_ids[searches.ads[rows]].tolist(), pa.string()),
            "position": pa.array(self.positions[rows].astype(np.int32)),
            "model_version": _text([e.model_version for e in self.exposures], search),
            "experiment_id": _text([e.experiment_id for e in self.exposures], search),
            "variant": _text([e.variant for e in self.exposures], search),
            "revenue": pa.array(outcome.revenue[rows], from_pandas=True),
            "context": _context(kind, searches, rows),
        }
        return pa.table(columns, schema=EVENT_SCHEMA)


def delivered(table: pa.Table, duplicate_share: float, rng: np.random.Generator) -> pa.Table:
    """At-least-once delivery: some rows come again, with the same ``event_id``, up to a minute later."""
    again = np.flatnonzero(rng.random(table.num_rows) < duplicate_share)
    copies = table.take(pa.array(again))
    late = np.asarray(copies["ingest_time"].cast(pa.int64())) + rng.integers(1, 60_000_000, len(again))
    column = table.schema.get_field_index("ingest_time")
    return pa.concat_tables([table, copies.set_column(column, table.schema.field(column), pa.array(late).cast(_TIME))])


def _event_ids(kind: str, searches: Searches, search: Ints, rows: Ints) -> list[str]:
    candidate = rows - searches.first[search]
    return [f"{kind}-{searches.search_ids[s]}-{c}" for s, c in zip(search.tolist(), candidate.tolist(), strict=True)]


def _text(values: Sequence[str], search: Ints) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(search))


def _context(kind: str, searches: Searches, rows: Ints) -> pa.Array:
    """Only impressions carry the context that the ad was ranked in."""
    if kind != "impression":
        return pa.nulls(len(rows), EVENT_SCHEMA.field("context").type)
    matrix = searches.context[rows]
    return context_maps(list(searches.context_names), [pa.array(matrix[:, i]) for i in range(matrix.shape[1])])
