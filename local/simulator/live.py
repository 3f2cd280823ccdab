"""The live loop: search, rank, react, tell, one event hour after the other.

Each event hour has a fixed number of searches. They are sent at their event time, a few at a time; when the ranker
cannot keep up, the event clock slows down and no search is dropped. A failed request shows nothing to its user and is
counted. An hour is told to the outlet when the event clock has passed its end and every request of it is answered,
strictly in order. Answers that come in a later hour are told with that hour.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from adrank.contracts import lake
from simulator.budget import SearchBudget
from simulator.clock import EventClock
from simulator.history import split
from simulator.outlets import Outlet
from simulator.progress import Progress
from simulator.ranking import RankCall, positions, request
from simulator.rows import Exposure, delivered, event_rows
from simulator.searches import Ints, Searches, SearchSource

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
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


class LiveTraffic:
    """Runs in the thread that calls :meth:`run`; ``stop`` may be set by any thread or signal handler."""

    def __init__(
        self,
        plan: Plan,
        source: SearchSource,
        rank: RankCall,
        outlet: Outlet,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._plan = plan
        self._source = source
        self._rank = rank
        self._outlet = outlet
        self._progress = progress
        self._stop = stop

    def run(self, first_hour: datetime, pending: pa.Table) -> None:
        """Run from ``first_hour``. ``pending`` holds answers to earlier searches that come in it or later."""
        plan = self._plan
        clock = EventClock(_micros(first_hour), plan.speed, self._stop)
        slots = threading.Semaphore(plan.concurrency)
        with ThreadPoolExecutor(plan.concurrency, thread_name_prefix="search") as pool:
            for hour in lake.hours(first_hour, plan.start + plan.max_hours * lake.HOUR):
                number = (hour - plan.start) // lake.HOUR
                searches = self._source.searches(hour, plan.budget.serials(number))
                shown, exposures = self._serve(searches, clock, pool, slots)
                clock.wait_until(_micros(hour + lake.HOUR))
                pending = self._close(hour, searches, shown, exposures, pending)
                self._progress.now(_micros(hour + lake.HOUR))
                if self._stop.is_set():
                    return

    def _serve(
        self, searches: Searches, clock: EventClock, pool: ThreadPoolExecutor, slots: threading.Semaphore
    ) -> tuple[Ints, list[Exposure]]:
        """Send the hour's searches; returns each candidate's position (0: not shown) and each search's exposure."""
        shown = np.zeros(len(searches.ads), dtype=np.int64)
        exposures = [_NOBODY] * len(searches)
        sent: list[Future[None]] = []
        for index, moment in enumerate(searches.times.tolist()):
            if not clock.wait_until(moment):
                break
            self._progress.now(moment)
            slots.acquire()
            sent.append(pool.submit(self._search, searches, index, shown, exposures, slots))
        wait(sent)
        for done in sent:
            done.result()
        return shown, exposures

    def _search(
        self, searches: Searches, index: int, shown: Ints, exposures: list[Exposure], slots: threading.Semaphore
    ) -> None:
        try:
            sent = request(searches, index, self._source)
            began = time.perf_counter()
            try:
                ranked = self._rank(sent)
                places = positions(sent, ranked)
            except Exception as error:  # whatever went wrong, the user saw no ads
                self._progress.failed(f"{type(error).__name__}: {error}"[:300])
                return
            self._progress.served(ranked.exposure, time.perf_counter() - began)
            shown[searches.first[index] : searches.first[index + 1]] = places
            exposures[index] = ranked.exposure
        finally:
            slots.release()

    def _close(
        self, hour: datetime, searches: Searches, shown: Ints, exposures: list[Exposure], pending: pa.Table
    ) -> pa.Table:
        """Tell the hour; returns the answers that come after it."""
        rng = np.random.default_rng([self._plan.seed, 7, int(hour.timestamp())])
        reactions = self._source.react(hour, searches, shown)
        rows = event_rows(searches, self._source.ad_ids, shown, exposures, reactions, rng)
        rows = delivered(rows, self._plan.duplicate_share, rng)
        inside, after = split(pa.concat_tables([pending, rows]), hour + lake.HOUR)
        self._outlet.hour(hour + lake.HOUR, self._source.changes(hour), inside)
        self._progress.told(hour, inside)
        return after


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
