"""The two histories that a demo can run on: the simulated marketplace, or the user's own logs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from adrank.contracts import lake
from demo.plan import DemoPlan
from ingestion import own_logs
from ingestion.object_store import ObjectStore
from simulator.history import land_history
from simulator.settings import SEASON_OVER_SEED, WorldSettings, documented_world
from simulator.world import World

HISTORY_DAYS: Final = 8


class HistorySource(Protocol):
    """A history that can be described before anything is started, and landed once the lake is there."""

    @property
    def data(self) -> Path | None:
        """The directory that live traffic replays; None for the simulated world."""

    def plan(self) -> DemoPlan:
        """What the demo will do with it."""

    def land(self, store: ObjectStore) -> str:
        """Land it; returns what landed, in words."""


@dataclass(frozen=True)
class SimulatedHistory:
    """The world of a seed, whose history ends with the last whole hour."""

    settings: WorldSettings

    @classmethod
    def of(cls, seed: int, now: datetime) -> SimulatedHistory:
        """The documented world of ``seed``."""
        return cls(documented_world(seed, lake.floor_hour(now), HISTORY_DAYS))

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
        """Land every hour of history, catalogue changes first."""
        settings = self.settings
        rows = land_history(World(settings), store, settings.start, settings.live_start)
        return f"{rows:,} events of {settings.history_hours} hours landed"


@dataclass(frozen=True)
class OwnHistory:
    """A directory of logs that has been read and checked whole."""

    directory: Path
    logs: own_logs.OwnLogs
    seed: int

    @classmethod
    def of(cls, directory: Path, seed: int) -> OwnHistory:
        """Read and check; raises :class:`ingestion.log_file.OwnLogsError`."""
        return cls(directory, own_logs.read(directory), seed)

    @property
    def data(self) -> Path | None:
        """Live traffic replays the log."""
        return self.directory.resolve()

    def plan(self) -> DemoPlan:
        """The experiment is decided by the most telling metric that the log has."""
        start, end = lake.floor_hour(self.logs.first_time), lake.floor_hour(self.logs.last_time) + lake.HOUR
        found = own_logs.report(self.logs, timedelta(hours=1))
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
        own_logs.land(self.logs, store)
        return f"{self.logs.events.accepted.num_rows:,} events of {self.plan().hours} hours landed"
