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

import sys
import threading

from adrank.contracts import settings
from adrank.contracts.timestamps import HOUR
from adrank.runtime.service import stop_on_signals
from ingestion.landing import event_table
from ingestion.own_logs import importer
from ingestion.own_logs.files import OwnLogsError
from simulator.history import answers_after
from simulator.marketplace.replay import Replay
from simulator.marketplace.searches import SearchSource
from simulator.marketplace.settings import documented_world
from simulator.marketplace.world import World
from simulator.sinks.event_sink import streaming_sink
from simulator.traffic import metrics_page
from simulator.traffic.back_pressure import ArchiveProgress, BackPressure, BackPressureLimits
from simulator.traffic.clock import SearchBudget
from simulator.traffic.command_line import TrafficArguments
from simulator.traffic.live import LiveTraffic, Plan
from simulator.traffic.progress import Progress
from simulator.traffic.ranking import router_client


def source_of(args: TrafficArguments) -> SearchSource:
    """The world of a seed, or a user's own log."""
    if args.searches_source == "replay" and args.data is not None:
        return Replay(importer.read(args.data), args.seed)
    return World(documented_world(args.seed, args.start, args.history_days))


def back_pressure_of(args: TrafficArguments, stop: threading.Event) -> BackPressure | None:
    """The back-pressure that the command line asks for; None without a limit."""
    if args.max_lag is None:
        return None
    events = settings.load().events
    address = f"http://{events.metrics_host}:{events.metrics_port}"
    limits = BackPressureLimits(args.max_lag, args.max_open_hours)
    return BackPressure(limits, lambda: ArchiveProgress.of(metrics_page.read(address)), stop.wait)


def run(args: TrafficArguments, stop: threading.Event) -> None:
    """Send traffic until ``stop`` is set or ``--max-hours`` are over."""
    described = f"replay of {args.data}" if args.searches_source == "replay" else "simulated world"
    progress = Progress(args.state, source=described, seed=args.seed, start=args.start)
    last = progress.resume() if args.resume else None
    progress.state("starting")
    done = threading.Event()
    writer = threading.Thread(target=_write_every_second, args=(progress, done), name="progress", daemon=True)
    writer.start()
    try:
        source = source_of(args)
        pending = event_table.empty()
        if last is None and isinstance(source, World):
            pending = answers_after(source, args.start)
        plan = Plan(
            start=args.start,
            budget=SearchBudget(args.start, args.hours, args.searches),
            max_hours=args.max_hours,
            speed=args.speed,
            seed=args.seed,
            concurrency=args.concurrency,
        )
        rank = router_client(args.endpoint, args.experiments_table)
        progress.state("running")
        with streaming_sink(settings.load()) as sink:
            LiveTraffic(plan, source, rank, sink, progress, stop, back_pressure_of(args, stop)).run(
                args.start if last is None else last + HOUR, pending
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


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = TrafficArguments.parse(arguments)
    with stop_on_signals() as stop:
        try:
            run(args, stop)
        except (OwnLogsError, OSError, RuntimeError, ValueError) as error:
            print(f"traffic failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
