"""What a search and its answers are, whoever asks: the simulated world or a replayed log.

Candidates of an hour's searches lie flat, search after search, so that an hour is a handful of arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ingestion.landing.changes import CdcTable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Searches:
    """One hour of searches in order of time. N candidates in all; search ``i`` has those in ``first[i]:first[i + 1]``.

    ``times`` are epoch microseconds. ``ads`` indexes the source's ``ad_ids``. ``context`` is ``[N, names]``, NaN where
    a feature is absent.
    """

    search_ids: tuple[str, ...]
    user_ids: tuple[str, ...]
    session_ids: tuple[str, ...]
    times: Ints
    first: Ints
    ads: Ints
    context_names: tuple[str, ...]
    context: Floats

    def __len__(self) -> int:
        return len(self.search_ids)

    @property
    def search_of(self) -> Ints:
        """Index of each candidate's search."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def only(self, index: int) -> Searches:
        """One of the searches by itself."""
        begin, end = self.first[index : index + 2].tolist()
        return Searches(
            search_ids=self.search_ids[index : index + 1],
            user_ids=self.user_ids[index : index + 1],
            session_ids=self.session_ids[index : index + 1],
            times=self.times[index : index + 1],
            first=np.array([0, end - begin]),
            ads=self.ads[begin:end],
            context_names=self.context_names,
            context=self.context[begin:end],
        )


@dataclass(frozen=True)
class Outcome:
    """One kind of answer per candidate: whether it came, microseconds after the search, and its revenue (NaN: none)."""

    happened: Bools
    delay: Ints
    revenue: Floats


@dataclass(frozen=True)
class Reactions:
    """What users did with what they were shown. A contact implies a click, a sale a contact."""

    click: Outcome
    contact: Outcome
    sale: Outcome


class SearchSource(Protocol):
    """Where live searches come from and how their users react. Both are functions of seed, hour and arguments alone."""

    #: All ads that searches may name.
    ad_ids: npt.NDArray[np.str_]
    #: The seller of each ad, and its category as the catalogue spells it; empty where nobody knows.
    seller_ids: npt.NDArray[np.str_]
    categories: npt.NDArray[np.str_]

    def searches(self, hour: datetime, serials: range) -> Searches:
        """The searches of one hour; ``serials`` number them from the start of the traffic on."""
        ...

    def react(self, hour: datetime, searches: Searches, positions: Ints) -> Reactions:
        """Answers to candidates shown at 1-based ``positions``; 0 is a candidate that nobody saw."""
        ...

    def changes(self, hour: datetime) -> Iterable[tuple[CdcTable, list[dict[str, Any]]]]:
        """Debezium envelopes of what changed in the catalogue during the hour, by table."""
        ...


def ranks(searches: Searches, scores: Floats) -> Ints:
    """1-based position of each candidate within its search by falling score; equal scores keep their order."""
    order = np.lexsort((-scores, searches.search_of))
    positions = np.empty(len(order), dtype=np.int64)
    positions[order] = np.arange(len(order)) - searches.first[searches.search_of] + 1
    return positions
