"""The live loop: search, rank, react, send, one event hour after the other.

Each event hour has a fixed number of searches. They are sent at their event time, a few at a time; when the ranker or
the archiver cannot keep up, the event clock slows down and no search is dropped. A failed request shows nothing to its
user and is counted. Impressions go to the sink as soon as their search is ranked, as a marketplace's backend
logs them. The rest of an hour follows when the event clock has passed its end and every request of it is answered,
strictly in order. Answers that come in a later hour go with that hour.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa

from adrank.contracts import timestamps
from adrank.contracts.timestamps import HOUR, micros
from ingestion.landing import event_table
from simulator.history import split
from simulator.marketplace.event_rows import Exposure, RankedSearches, delivered
from simulator.marketplace.searches import Ints, Searches, SearchSource
from simulator.sinks.event_sink import EventSink
from simulator.traffic.back_pressure import BackPressure
from simulator.traffic.clock import EventClock, SearchBudget
from simulator.traffic.progress import Progress
from simulator.traffic.ranking import RankCall, positions, request

_NOBODY: Final = Exposure("")


@dataclass(frozen=True)
class Plan:
    """When live traffic starts, how dense it is, how fast it runs, and when it ends unless it is stopped before."""

    start: datetime
    budget: SearchBudget
    max_hours: int
    speed: float
    seed: int
    concurrency: int = 4
    duplicate_share: float = 0.005


class HourResult:
    """What came of an hour's searches: each candidate's position (0: not shown), each search's exposure and rows."""

    def __init__(self, searches: Searches) -> None:
        self.shown: Ints = np.zeros(len(searches.ads), dtype=np.int64)
        self.exposures = [_NOBODY] * len(searches)
        self.impressions = [event_table.empty()] * len(searches)


class LiveTraffic:
    """Runs in the thread that calls :meth:`run`; ``stop`` may be set by any thread or signal handler."""

    def __init__(
        self,
        plan: Plan,
        source: SearchSource,
        rank: RankCall,
        sink: EventSink,
        progress: Progress,
        stop: threading.Event,
        back_pressure: BackPressure | None = None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._rank = rank
        self._sink = sink
        self._progress = progress
        self._stop = stop
        self._back_pressure = back_pressure

    def run(self, first_hour: datetime, pending: pa.Table) -> None:
        """Run from ``first_hour``. ``pending`` holds answers to earlier searches that come in it or later."""
        plan = self._plan
        clock = EventClock(micros(first_hour), plan.speed, self._stop, self._back_pressure)
        self._progress.watch_clock(clock.reading)
        slots = threading.Semaphore(plan.concurrency)
        with ThreadPoolExecutor(plan.concurrency, thread_name_prefix="search") as pool:
            for hour in timestamps.hours(first_hour, plan.start + plan.max_hours * HOUR):
                number = (hour - plan.start) // HOUR
                searches = self._source.searches(hour, plan.budget.serials(number))
                result = self._serve(searches, clock, pool, slots)
                clock.wait_until(micros(hour + HOUR))
                pending = self._close(hour, searches, result, pending)
                self._progress.now(micros(hour + HOUR))
                if self._stop.is_set():
                    return

    def _serve(
        self, searches: Searches, clock: EventClock, pool: ThreadPoolExecutor, slots: threading.Semaphore
    ) -> HourResult:
        """Send the hour's searches, and what their users are shown."""
        result = HourResult(searches)
        sent: list[Future[None]] = []
        for index, moment in enumerate(searches.times.tolist()):
            if not clock.wait_until(moment):
                break
            self._progress.now(moment)
            slots.acquire()
            sent.append(pool.submit(self._search, searches, index, result, slots))
        wait(sent)
        for done in sent:
            done.result()
        return result

    def _search(self, searches: Searches, index: int, result: HourResult, slots: threading.Semaphore) -> None:
        try:
            sent = request(searches, index, self._source)
            began = time.perf_counter()
            try:
                ranked = self._rank(sent)
                places = positions(sent, ranked)
            except Exception as error:  # whatever went wrong, the user saw no ads
                self._progress.record_failure(f"{type(error).__name__}: {error}"[:300])
                return
            self._progress.record_served(ranked.exposure, time.perf_counter() - began)
            result.shown[searches.first[index] : searches.first[index + 1]] = places
            result.exposures[index] = ranked.exposure
            result.impressions[index] = self._impressions(searches, index, places, ranked.exposure)
            self._sink.impressions(result.impressions[index])
        finally:
            slots.release()

    def _impressions(self, searches: Searches, index: int, places: Ints, exposure: Exposure) -> pa.Table:
        # By the search alone: which other searches are answered before it differs from run to run.
        rng = np.random.default_rng([self._plan.seed, 9, int(searches.times[index]), index])
        return RankedSearches(searches.only(index), self._source.ad_ids, places, [exposure]).impressions(rng)

    def _close(self, hour: datetime, searches: Searches, result: HourResult, pending: pa.Table) -> pa.Table:
        """Send the rest of the hour; returns the answers that come after it."""
        rng = np.random.default_rng([self._plan.seed, 7, int(hour.timestamp())])
        reactions = self._source.react(hour, searches, result.shown)
        impressions = pa.concat_tables([event_table.empty(), *result.impressions])
        ranked = RankedSearches(searches, self._source.ad_ids, result.shown, result.exposures)
        rows = delivered(
            pa.concat_tables([impressions, ranked.answers(reactions, rng)]), self._plan.duplicate_share, rng
        )
        inside, after = split(pa.concat_tables([pending, rows.slice(impressions.num_rows)]), hour + HOUR)
        self._sink.hour(hour + HOUR, self._source.changes(hour), inside)
        if self._back_pressure is not None:
            self._back_pressure.hour_sent(hour + HOUR)
        self._progress.record_hour(hour, pa.concat_tables([impressions, inside]))
        return after
