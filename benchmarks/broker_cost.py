"""What a search of live traffic costs the log bus, at the start of a long run and at its end.

    python -m benchmarks.broker_cost [--full] [--searches N] [--window N] [--port-base N]

The stack's own programs for it (both object stores, broker, archiver, retention), with the stack's settings, under
traffic at the demo's rate and of its shape: 20 impressions as each search is ranked, and at the end of each event hour
its answers, a flush and the heartbeat. CPU is each program's own, user and system; the clock of a window runs from its
first search to its last. The numbers of the last window over those of the first, behind a warm-up, say what a longer
log costs: the run fails when that is more than 1.2, or when the stores take a fifth of a core.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from adrank.contracts import metrics
from adrank.contracts.settings import Events, load
from benchmarks.results import Size, parse_sizes, record
from demo.traffic_process import SEARCHES_PER_DAY, SPEED
from serving.router.event_log import EventLog
from stack import health, paths
from stack.environment import process_environment, url
from stack.servers import kafka
from stack.servers.programs import programs
from stack.settings import StackSettings
from tests.support.child_process import eventually

STORES = ("objects", "broker-objects")
PROGRAMS = (*STORES, "kafka", "archiver", "broker-retention")
PER_SECOND = SEARCHES_PER_DAY * SPEED / 86_400
PER_HOUR = SEARCHES_PER_DAY // 24
START = datetime(2026, 5, 4, tzinfo=UTC)
SHOWN = 20
WARM_UP = 1200
LAG_EVERY = 200
CONTEXT = ("slot", "query_match", "distance_km", "price_rank", "hour_of_day")
MAX_GROWTH, MAX_STORES = 1.2, 0.2


@dataclass(frozen=True)
class Mark:
    """What each program has used so far: seconds of CPU; and the clock."""

    clock: float
    cpu: Mapping[str, float]


@dataclass(frozen=True)
class Window:
    """A stretch of a run. ``lags`` are messages that the lake did not have, as sampled."""

    first: Mark
    last: Mark
    searches: int
    lags: tuple[float, ...]

    def micros(self, *names: str) -> float:
        """Microseconds of CPU that a search cost these programs."""
        return 1e6 * sum(self.last.cpu[name] - self.first.cpu[name] for name in names) / self.searches

    def cores(self, *names: str) -> float:
        """Cores that these programs kept busy."""
        return self.micros(*names) / 1e6 * self.searches / (self.last.clock - self.first.clock)

    def describe(self, title: str) -> str:
        """Two lines for a person."""
        each = ", ".join(f"{name} {self.micros(name):,.0f}" for name in PROGRAMS)
        rate = self.searches / (self.last.clock - self.first.clock)
        return (
            f"{title}: {rate:.1f} searches/s; us of CPU a search: {each}; together {self.micros(*PROGRAMS):,.0f}\n"
            f"{'':{len(title)}}  stores {self.cores(*STORES):.1%} of a core, broker {self.cores('kafka'):.1%}; "
            f"lag {statistics.median(self.lags):,.0f} messages, at most {max(self.lags):,.0f}"
        )


def events_of(search: int, moment: datetime, kind: str, places: range) -> Iterator[dict[str, Any]]:
    """Events of one search; about 400 bytes each."""
    for place in places:
        ad = (search * 31 + place) * 2_654_435_761 % 19_997
        yield {
            "event_id": f"{kind}-s{search:08d}-{place}",
            "event_type": kind,
            "event_time": moment,
            "user_id": f"u{search * 2_654_435_761 % 20_000:06d}",
            "session_id": f"x{search // 3:07d}",
            "search_id": f"s{search:08d}",
            "ad_id": f"ad-{ad:06d}",
            "position": place,
            "model_version": "0123456789ab",
            "experiment_id": "exp-20260501",
            "variant": "control" if search % 2 else "treatment",
            "context": {name: ad % (97 + i) / 97 for i, name in enumerate(CONTEXT)} if kind == "impression" else None,
        }


def run(searches: int, events: Events, at: Callable[[int], None]) -> None:
    """Send so many searches at the demo's rate; ``at`` is called before each, with its number."""
    log = EventLog(events)
    began = time.monotonic()
    for search in range(searches):
        at(search)
        time.sleep(max(0.0, began + search / PER_SECOND - time.monotonic()))
        log.send(events_of(search, START + timedelta(seconds=search * SPEED / PER_SECOND), "impression", _places()))
        if (search + 1) % PER_HOUR == 0:
            end = START + timedelta(hours=(search + 1) // PER_HOUR)
            for earlier in range(search + 1 - PER_HOUR, search + 1):
                clicked = range(1, 2 + earlier % 3)
                log.send(events_of(earlier, end - timedelta(seconds=1 + earlier % 3000), "click", clicked))
            log.flush()
            log.heartbeat(end + events.grace)
            log.flush()
    log.close()


def _places() -> range:
    return range(1, SHOWN + 1)


@contextmanager
def bus(stack: StackSettings) -> Iterator[dict[str, psutil.Process]]:
    """The programs by name, healthy; gone at the end."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    by_name = {program.name: program for program in programs(stack)}
    for directory in (paths.logs(stack), paths.lake(stack), paths.broker(stack), paths.localcloud(stack)):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        for name in PROGRAMS:
            if name == "archiver":
                kafka.ensure_topics(stack, load().events)
            program = by_name[name]
            with paths.log(stack, name).open("wb") as output:
                running[name] = subprocess.Popen(  # noqa: S603
                    program.command, env={**os.environ, **program.environment}, stdout=output, stderr=output
                )
            if name != "broker-retention":  # it serves nothing that could be asked
                eventually(health.checks(stack)[name], seconds=60)
        yield {name: psutil.Process(process.pid) for name, process in running.items()}
        assert all(process.poll() is None for process in running.values()), "a program has ended"
    finally:
        for process in reversed(running.values()):
            process.kill()
            process.wait()


def measure(searches: int, window: int, stack: StackSettings) -> tuple[Window, Window]:
    """The first window behind the warm-up, and the last of the run."""
    events = load().events
    edges = (WARM_UP, WARM_UP + window, WARM_UP + searches - window, WARM_UP + searches)
    marks: dict[int, Mark] = {}
    lags: dict[int, float] = {}

    with bus(stack) as processes:

        def at(search: int) -> None:
            if search in edges:
                used = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
                marks[search] = Mark(time.monotonic(), used)
            if search >= WARM_UP and search % LAG_EVERY == 0:
                lags[search] = lag(stack)

        run(WARM_UP + searches, events, at)
        at(WARM_UP + searches)
        eventually(lambda: lag(stack), lambda value: value == 0, seconds=60)
    found = [
        Window(marks[first], marks[last], window, tuple(value for at, value in lags.items() if first <= at < last))
        for first, last in (edges[:2], edges[2:])
    ]
    return found[0], found[1]


def lag(stack: StackSettings) -> float:
    """Messages that the broker has and the lake has not, as the archiver's metrics say."""
    with urllib.request.urlopen(f"{url(stack, 'archiver')}/metrics", timeout=10) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metrics.ARCHIVER_LAG + "{"))


def main() -> int:
    """Print both windows and their ratio; the exit code says whether the cost stayed within its limits."""
    args = parse_sizes(
        "Cost of the embedded log bus as its log grows.",
        searches=Size(18_000, 60_000),
        window=Size(3000, 5000),
        port_base=18_080,
    )
    with tempfile.TemporaryDirectory(prefix="broker-cost-") as directory:
        stack = StackSettings(home=Path(directory), port_base=args.port_base)
        variables = process_environment(stack)
        os.environ.clear()
        os.environ.update(variables)
        first, last = measure(args.searches, args.window, stack)
    print(first.describe("start"))
    print(last.describe("end"))
    name = f"CPU of the log bus at the end of {args.searches:,} searches"
    ratio = record(name, last.micros(*PROGRAMS), first.micros(*PROGRAMS), "at their start", "us a search")
    stores = max(first.cores(*STORES), last.cores(*STORES))
    failed = [
        *([f"a search costs {ratio:.2f} times what it did"] if ratio > MAX_GROWTH else []),
        *([f"the object stores take {stores:.1%} of a core"] if stores > MAX_STORES else []),
    ]
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
