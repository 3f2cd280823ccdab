"""Replays the searches of a user's own log as live traffic, with reactions drawn from rates estimated on that log.

**Searches** are those of the log's last day (of the whole log where that day has fewer than 200), over and over in
their order: the same users, candidates and context, with new search ids and new times on the live clock.

**Reactions.** Nobody knows how these users would have answered another order, so they are simulated from a
position-based model: P(answer | ad, position) = examination(position) x attraction(ad).

- examination is the share of impressions at a logged position that were answered at all, smoothed, made
  non-increasing, over that of the first position; positions that the log never used count as its last one;
- attraction is an ad's answers over its examined impressions, drawn towards the log's mean as strongly as 20 examined
  impressions would.

An answer is a click, contact or sale as often as answered impressions of the log are; its delay and revenue are drawn
from the log's own. Examination is confounded with relevance where the log's order was a good one, and the model knows
no taste of single users: the experiment measures rankers in this simulation, not in the user's market.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.landing.changes import CdcTable
from ingestion.own_logs.importer import ImportedLogs
from simulator.marketplace.searches import Floats, Ints, Outcome, Reactions, Searches

_PRIOR: Final = 20.0
_FEWEST: Final = 200
_HOUR_US: Final = 3_600_000_000
_LONGEST_DELAY: Final = 50 * 60 * 1_000_000


@dataclass(frozen=True)
class Answers:
    """One kind of answer in the log: per answered impression, how often; its delays (microseconds) and revenues."""

    share: float
    delays: Ints
    revenues: Floats


@dataclass(frozen=True)
class Rates:
    """What was estimated: examination by position (from 1), attraction by ad, and the kinds of answers."""

    examination: Floats
    attraction: Floats
    click: Answers
    contact: Answers
    sale: Answers


class Replay:
    """A search source over a log that :func:`ingestion.own_logs.importer.read` has read."""

    def __init__(self, logs: ImportedLogs, seed: int) -> None:
        self._seed = seed
        events = logs.events.accepted
        shown = _shown(events)
        self.ad_ids: npt.NDArray[np.str_] = np.array(shown.ads.to_pylist())
        self.seller_ids: npt.NDArray[np.str_] = _known(logs, self.ad_ids, "seller_id")
        self.categories: npt.NDArray[np.str_] = _known(logs, self.ad_ids, "category")
        self.rates = _rates(events, shown)
        rows = _last_day(shown, events)
        searches = shown.search[rows]
        starts = np.flatnonzero(np.diff(searches, prepend=-1))
        self._first: Ints = np.append(starts, len(rows)).astype(np.int64)
        self._users: list[str] = events["user_id"].take(pa.array(shown.row[rows][starts])).to_pylist()
        self._ads: Ints = shown.ad[rows]
        self._context_names, self._context = _context(events["context"].take(pa.array(shown.row[rows])))

    def __len__(self) -> int:
        """Searches that are replayed."""
        return len(self._users)

    def searches(self, hour: datetime, serials: range) -> Searches:
        """The searches of these serial numbers, going round the replayed part of the log."""
        replayed = np.array(serials, dtype=np.int64) % len(self)
        users = [self._users[i] for i in replayed.tolist()]
        sizes = np.diff(self._first)[replayed]
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.repeat(self._first[replayed] - first[:-1], sizes) + np.arange(first[-1])
        rng = np.random.default_rng([self._seed, 3, _seconds(hour)])
        return Searches(
            search_ids=tuple(f"r-{serial:08d}" for serial in serials),
            user_ids=tuple(users),
            session_ids=tuple(f"{user}-{serial // len(self)}" for user, serial in zip(users, serials, strict=True)),
            times=np.sort(rng.integers(0, _HOUR_US, len(replayed))) + _seconds(hour) * 1_000_000,
            first=first,
            ads=self._ads[rows],
            context_names=self._context_names,
            context=self._context[rows],
        )

    def react(self, hour: datetime, searches: Searches, positions: Ints) -> Reactions:
        """Draw answers to candidates shown at ``positions``."""
        rng = np.random.default_rng([self._seed, 4, _seconds(hour)])
        n, rates = len(searches.ads), self.rates
        place = np.clip(positions, 1, len(rates.examination)) - 1
        chance = np.where(positions > 0, rates.examination[place] * rates.attraction[searches.ads], 0.0)
        answered, kind = rng.random(n) < chance, rng.random(n)
        kinds = (rates.click, rates.contact, rates.sale)
        return Reactions(*(_draw(rng, answered & (kind < answers.share), answers) for answers in kinds))

    def changes(self, hour: datetime) -> Iterable[tuple[CdcTable, list[dict[str, Any]]]]:  # noqa: ARG002
        """A log that has ended has no more changes."""
        return ()


@dataclass(frozen=True)
class _Shown:
    """Impressions, one per search and ad, sorted by search and position; searches are numbered in order of time.

    ``ads`` and ``search_ids`` are the ids behind the codes; ``row`` is the impression's row in the events.
    """

    ads: pa.Array
    search_ids: pa.Array
    row: Ints
    search: Ints
    ad: Ints
    position: Ints


def _shown(events: pa.Table) -> _Shown:
    # Events are sorted by time, so codes of first appearance number searches in order of time.
    row = np.flatnonzero(np.asarray(pc.equal(events["event_type"], "impression").combine_chunks().cast(pa.uint8())))
    table = events.select(["search_id", "ad_id", "position"]).take(pa.array(row))
    searches = table["search_id"].combine_chunks().dictionary_encode()
    ads = table["ad_id"].combine_chunks().dictionary_encode()
    search, ad = (np.asarray(codes.indices).astype(np.int64) for codes in (searches, ads))
    position = np.asarray(table["position"]).astype(np.int64)
    order = np.lexsort((position, ad, search))
    again = (np.diff(search[order], prepend=-1) == 0) & (np.diff(ad[order], prepend=-1) == 0)
    kept = order[~again]
    kept = kept[np.lexsort((position[kept], search[kept]))]
    return _Shown(ads.dictionary, searches.dictionary, row[kept], search[kept], ad[kept], position[kept])


def _last_day(shown: _Shown, events: pa.Table) -> Ints:
    """Rows of ``shown`` to replay: whole searches of the log's last day, or everything where those are few."""
    times = np.asarray(events["event_time"].cast(pa.int64()))
    late = times[shown.row] > times[-1] - 24 * _HOUR_US
    recent = np.unique(shown.search[late])
    if len(recent) < _FEWEST:
        return np.arange(len(shown.row))
    return np.flatnonzero(np.isin(shown.search, recent))


def _rates(events: pa.Table, shown: _Shown) -> Rates:
    outcomes = events.filter(pc.not_equal(events["event_type"], "impression"))
    width = len(shown.ads)
    key = shown.search * width + shown.ad
    answered = np.isin(key, _keys(outcomes, shown))
    examination = _examination(shown.position, answered)
    examined = examination[shown.position - 1]
    mean = (answered.sum() + 1e-9) / examined.sum()
    answers = np.bincount(shown.ad, weights=answered, minlength=width)
    weight = np.bincount(shown.ad, weights=examined, minlength=width)
    attraction = np.minimum((answers + _PRIOR * mean) / (weight + _PRIOR), 1.0)
    started = dict(
        zip(key.tolist(), np.asarray(events["event_time"].cast(pa.int64()))[shown.row].tolist(), strict=True)
    )
    kinds = (_answers(outcomes, kind, shown, started, int(answered.sum())) for kind in ("click", "contact", "sale"))
    return Rates(examination, attraction, *kinds)


def _keys(outcomes: pa.Table, shown: _Shown) -> Ints:
    search = pc.index_in(outcomes["search_id"], value_set=shown.search_ids)
    ad = pc.index_in(outcomes["ad_id"], value_set=shown.ads)
    return np.asarray(search).astype(np.int64) * len(shown.ads) + np.asarray(ad).astype(np.int64)


def _examination(position: Ints, answered: npt.NDArray[np.bool_]) -> Floats:
    """Answered share by position over the first one's: smoothed by one mean impression, then pooled until it falls."""
    count = np.bincount(position)[1:].astype(np.float64)
    share = (np.bincount(position, weights=answered)[1:] + answered.mean()) / (count + 1)
    pools: list[list[float]] = []
    for value, weight in zip(share.tolist(), (count + 1).tolist(), strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            last, before = pools.pop(), pools.pop()
            total = before[1] + last[1]
            pools.append([(before[0] * before[1] + last[0] * last[1]) / total, total, before[2] + last[2]])
    falling = np.concatenate([np.full(int(length), value) for value, _, length in pools])
    return np.asarray(falling / falling[0]) if falling[0] > 0 else np.ones_like(falling)


def _answers(outcomes: pa.Table, kind: str, shown: _Shown, started: dict[int, int], answered: int) -> Answers:
    table = outcomes.filter(pc.equal(outcomes["event_type"], kind))
    keys, first = np.unique(_keys(table, shown), return_index=True)
    came = np.asarray(table["event_time"].cast(pa.int64()))[first]
    delays = came - np.array([started[key] for key in keys.tolist()], dtype=np.int64)
    revenues = np.array(pc.fill_null(table["revenue"], float("nan")))[first]
    return Answers(len(keys) / max(answered, 1), np.clip(delays, 1, _LONGEST_DELAY), revenues)


def _draw(rng: np.random.Generator, happened: npt.NDArray[np.bool_], answers: Answers) -> Outcome:
    n = len(happened)
    if not len(answers.delays):
        return Outcome(np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64), np.full(n, np.nan))
    like = rng.integers(0, len(answers.delays), n)
    return Outcome(happened, answers.delays[like], np.where(happened, answers.revenues[like], np.nan))


def _known(logs: ImportedLogs, ad_ids: npt.NDArray[np.str_], column: str) -> npt.NDArray[np.str_]:
    """What the log's catalogue says of each ad; empty where it says nothing."""
    values = {row["ad_id"]: row[column] for row in logs.ads.rows} if logs.ads else {}
    return np.array([values.get(ad) or "" for ad in ad_ids.tolist()])


def _context(maps: pa.ChunkedArray) -> tuple[tuple[str, ...], Floats]:
    """Maps as a matrix ``[rows, names]``, NaN where a map lacks the name."""
    array = maps.combine_chunks()
    keys = array.keys.dictionary_encode()
    matrix = np.full((len(array), len(keys.dictionary)), np.nan)
    rows = np.repeat(np.arange(len(array)), np.diff(np.asarray(array.offsets)))
    matrix[rows, np.asarray(keys.indices)] = np.asarray(array.items)
    return tuple(keys.dictionary.to_pylist()), matrix


def _seconds(hour: datetime) -> int:
    return int(hour.timestamp())
