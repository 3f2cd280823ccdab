"""The two histories that a demo can run on: the simulated marketplace, or the user's own logs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from adrank.contracts import timestamps
from adrank.contracts.settings import Billing
from adrank.contracts.timestamps import HOUR, floor_day, floor_hour
from adrank.storage.object_store import ObjectStore
from demo.plan import HOURLY_RUNS, DemoPlan
from ingestion.billing.process import process_export
from ingestion.landing import event_table
from ingestion.own_logs import importer, report
from simulator.history import land_events, stream_history
from simulator.marketplace.settings import SEASON_OVER_SEED, WorldSettings, documented_world
from simulator.marketplace.world import World
from simulator.sinks.billing_export import export_day
from simulator.sinks.event_sink import EventSink

HISTORY_DAYS: Final = 8


class HistorySource(Protocol):
    """A history that can be described before anything is started, and brought into the lake once that is there."""

    @property
    def data(self) -> Path | None:
        """The directory that live traffic replays; None for the simulated world."""

    def plan(self) -> DemoPlan:
        """What the demo will do with it."""

    def land(self, store: ObjectStore) -> str:
        """Import what lies too far back for the event log; returns what landed, in words."""

    def stream(self, sink: EventSink) -> str:
        """Send the rest to the marketplace's database and event log; returns what was sent, in words."""

    def bill(self, store: ObjectStore, billing: Billing) -> datetime | None:
        """Deliver the nightly billing exports; returns the last day, which is yet to be landed, if there is one."""


@dataclass(frozen=True)
class SimulatedHistory:
    """The world of a seed, whose history ends with the last whole hour."""

    settings: WorldSettings

    @classmethod
    def of(cls, seed: int, now: datetime) -> SimulatedHistory:
        """The documented world of ``seed``."""
        return cls(documented_world(seed, floor_hour(now), HISTORY_DAYS))

    @property
    def data(self) -> Path | None:
        """Live traffic comes from the world itself."""
        return None

    def plan(self) -> DemoPlan:
        """All metrics can be judged."""
        settings = self.settings
        season = "the season is over once live" if settings.seed == SEASON_OVER_SEED else "tastes stay as they were"
        return DemoPlan(
            text=f"simulated marketplace, seed {settings.seed}",
            own_logs=False,
            seed=settings.seed,
            start=settings.start,
            end=settings.live_start,
            metrics=("contacts", "clicks", "revenue"),
            facts={
                "World": f"{settings.ads:,} ads of {settings.sellers:,} sellers, {settings.users:,} users; {season}"
            },
        )

    def land(self, store: ObjectStore) -> str:
        """Land the events of all hours but the last."""
        start, end = self.settings.start, self.plan().hourly_start
        rows = land_events(World(self.settings), store, start, end)
        return f"{rows:,} events of {(end - start) // HOUR} hours landed"

    def stream(self, sink: EventSink) -> str:
        """All of the catalogue, and the events of the last hours."""
        plan = self.plan()
        rows = stream_history(World(self.settings), sink, plan.hourly_start, plan.end)
        return f"the catalogue, and {rows:,} events of the last {HOURLY_RUNS} hours"

    def bill(self, store: ObjectStore, billing: Billing) -> datetime | None:
        """An export of every day that is over; all but the last are landed as they were on their nights."""
        days = list(timestamps.days(floor_day(self.settings.start), floor_day(self.settings.live_start)))
        for day in days:
            export_day(store, day, seed=self.settings.seed, currency=billing.currency)
        for day in days[:-1]:
            process_export(store, day, currency=billing.currency, lag=billing.lag)
        return days[-1]


@dataclass(frozen=True)
class OwnHistory:
    """A directory of logs that has been read and checked whole."""

    directory: Path
    logs: importer.ImportedLogs
    seed: int

    @classmethod
    def of(cls, directory: Path, seed: int) -> OwnHistory:
        """Read and check; raises :class:`ingestion.own_logs.files.OwnLogsError`."""
        return cls(directory, importer.read(directory), seed)

    @property
    def data(self) -> Path | None:
        """Live traffic replays the log."""
        return self.directory.resolve()

    def plan(self) -> DemoPlan:
        """The experiment is decided by the most telling metric that the log has."""
        start, end = floor_hour(self.logs.first_time), floor_hour(self.logs.last_time) + HOUR
        found = report.build(self.logs, timedelta(hours=1))
        by_type = {"contacts": "contact", "clicks": "click", "revenue": "sale"}
        metrics = tuple(metric for metric, kind in by_type.items() if found.event_types.get(kind))
        counts = ", ".join(f"{count:,} {kind}s" for kind, count in found.event_types.items())
        refused = ", ".join(f"{count:,} {reason}" for reason, count in found.rejected.items())
        return DemoPlan(
            text=str(self.directory),
            own_logs=True,
            seed=self.seed,
            start=start,
            end=end,
            metrics=metrics or ("clicks",),
            facts={
                "Log": f"{counts} in {found.searches:,} searches of {found.users:,} users",
                "Catalogue": f"{found.ads:,} ads, {found.sellers:,} sellers",
                "Context features": ", ".join(found.context_features) or "none",
                "Left out": f"{found.duplicates:,} duplicates; " + (refused or "nothing refused"),
            },
        )

    def land(self, store: ObjectStore) -> str:
        """Land the checked log."""
        importer.land(self.logs, store)
        return f"{self.logs.events.accepted.num_rows:,} events of {self.plan().hours} hours landed"

    def stream(self, sink: EventSink) -> str:
        """Nothing but how late it is: the whole log was imported."""
        sink.hour(self.plan().end, (), event_table.empty())
        return "the event clock; the log itself was imported"

    def bill(self, store: ObjectStore, billing: Billing) -> datetime | None:
        """Nothing: billed amounts, where there are any, came with the log."""
