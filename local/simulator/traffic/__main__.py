"""Live traffic through the router, on a compressed event clock, until it is told to stop.

``python -m simulator.traffic --start ISO --hours 24 --searches 6000 --speed 300 --state FILE
[--searches-source world|replay] [--data DIR] [--seed 7] [--max-hours 168] [--resume]
[--max-lag MESSAGES] [--max-open-hours 2]``

``--searches`` are spread over ``--hours`` event hours; after those the traffic goes on at the same pace, because an
experiment may be extended. With ``--max-lag`` the event clock is held while the archiver (its ``/metrics`` are at
``ADRANK_EVENTS__METRICS_HOST`` and ``_PORT``) is further behind, or says nothing; without, traffic does as if there
were no archiver. SIGTERM ends the current hour with what was served in it, and exits 0. The state
file (:mod:`simulator.traffic.progress`) says at any time what has happened. ``--resume`` goes on after the last hour
that an earlier process told; answers that were on their way into a later hour are lost with the process that drew them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from adrank.contracts import settings
from adrank.contracts.timestamps import HOUR
from ingestion.landing import event_table
from ingestion.own_logs import importer
from ingestion.own_logs.files import OwnLogsError
from simulator.history import answers_after
from simulator.marketplace.command_line import positive, whole_hour
from simulator.marketplace.replay import Replay
from simulator.marketplace.searches import SearchSource
from simulator.marketplace.settings import documented_world
from simulator.marketplace.world import World
from simulator.sinks.event_sink import streaming_sink
from simulator.traffic import archive_progress
from simulator.traffic.back_pressure import BackPressure, BackPressureLimits
from simulator.traffic.clock import SearchBudget
from simulator.traffic.live import LiveTraffic, Plan
from simulator.traffic.progress import Progress
from simulator.traffic.ranking import router_client


def source_of(chosen: argparse.Namespace) -> SearchSource:
    """The world of a seed, or a user's own log."""
    if chosen.searches_source == "world":
        return World(documented_world(chosen.seed, chosen.start, chosen.history_days))
    return Replay(importer.read(chosen.data), chosen.seed)


def back_pressure_of(chosen: argparse.Namespace, stop: threading.Event) -> BackPressure | None:
    """The back-pressure that the command line asks for; None without a limit."""
    if chosen.max_lag is None:
        return None
    events = settings.load().events
    address = f"http://{events.metrics_host}:{events.metrics_port}"
    limits = BackPressureLimits(chosen.max_lag, chosen.max_open_hours)
    return BackPressure(limits, lambda: archive_progress.read(address), stop.wait)


def run(chosen: argparse.Namespace, stop: threading.Event) -> None:
    """Send traffic until ``stop`` is set or ``--max-hours`` are over."""
    described = f"replay of {chosen.data}" if chosen.searches_source == "replay" else "simulated world"
    progress = Progress(chosen.state, source=described, seed=chosen.seed, start=chosen.start)
    last = progress.resume() if chosen.resume else None
    progress.state("starting")
    done = threading.Event()
    writer = threading.Thread(target=_write_every_second, args=(progress, done), name="progress", daemon=True)
    writer.start()
    try:
        source = source_of(chosen)
        pending = event_table.empty()
        if last is None and isinstance(source, World):
            pending = answers_after(source, chosen.start)
        plan = Plan(
            start=chosen.start,
            budget=SearchBudget(chosen.start, chosen.hours, chosen.searches),
            max_hours=chosen.max_hours,
            speed=chosen.speed,
            seed=chosen.seed,
            concurrency=chosen.concurrency,
        )
        rank = router_client(chosen.endpoint, chosen.experiments_table)
        progress.state("running")
        with streaming_sink(settings.load()) as sink:
            LiveTraffic(plan, source, rank, sink, progress, stop, back_pressure_of(chosen, stop)).run(
                chosen.start if last is None else last + HOUR, pending
            )
        progress.state("stopped" if stop.is_set() else "finished")
    except Exception as error:
        progress.state("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        done.set()
        writer.join()


def _write_every_second(progress: Progress, done: threading.Event) -> None:
    while not done.wait(1.0):
        progress.write()


def arguments_parser() -> argparse.ArgumentParser:
    """The command line."""
    defaults = settings.load()
    parser = argparse.ArgumentParser(prog="simulator.traffic", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", type=whole_hour, required=True, help="first live event hour, ISO 8601 with zone")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--searches", type=int, default=6000, help="over all --hours")
    parser.add_argument("--speed", type=float, default=300.0, help="event seconds per wall-clock second, at most")
    parser.add_argument("--max-hours", type=int, default=168)
    parser.add_argument(
        "--max-lag", type=positive, metavar="MESSAGES", help="hold the clock while the archiver is further behind"
    )
    parser.add_argument(
        "--max-open-hours", type=positive, default=2, help="with --max-lag: hold it while more told hours are open"
    )
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--endpoint", default=defaults.sagemaker.production_endpoint)
    parser.add_argument("--experiments-table", default=defaults.online.experiments_table)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--searches-source", choices=("world", "replay"), default="world")
    parser.add_argument("--data", type=Path, help="directory of the log to replay")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--history-days", type=int, default=8, help="of the world, as its history was landed")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = arguments_parser()
    chosen = parser.parse_args(arguments)
    if chosen.searches_source == "replay" and chosen.data is None:
        parser.error("--searches-source replay needs --data")
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run(chosen, stop)
    except (OwnLogsError, OSError, RuntimeError, ValueError) as error:
        print(f"traffic failed: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


if __name__ == "__main__":
    sys.exit(main())
