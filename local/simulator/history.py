"""History of the simulated marketplace, ranked by fixed slots: landed at once, or streamed hour by hour.

``python -m simulator.history --bucket B --live-start ISO [--seed 7] [--days 8]`` lands all hours before ``live-start``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from adrank.contracts import settings, timestamps
from adrank.contracts.entry_points.command_line import LakeArguments, WholeHour
from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.landing import changes, event_table, raw_events
from simulator.marketplace.event_rows import Exposure, RankedSearches, delivered
from simulator.marketplace.settings import documented_world
from simulator.marketplace.world import World
from simulator.sinks.event_sink import EventSink

#: What history's rows call the incumbent.
INCUMBENT: Final = "fixed-slots"


def history(world: World, start: datetime, end: datetime) -> Iterator[tuple[datetime, pa.Table]]:
    """(hour, events of that hour) for every hour in ``[start, end)``, empty ones too.

    An answer that comes after its search's hour is in the hour in which it comes. Answers that come after ``end`` are
    :func:`answers_after`.
    """
    spilled = answers_after(world, start)
    for hour in timestamps.hours(start, end):
        inside, after = split(_hour(world, hour), hour + HOUR)
        yield hour, pa.concat_tables([spilled, inside])
        spilled = after


def answers_after(world: World, moment: datetime) -> pa.Table:
    """Answers to the history hour before ``moment`` that came after it; empty at the start of history."""
    previous = moment - HOUR
    if not world.settings.start <= previous < world.settings.live_start:
        return _hour(world, moment).slice(0, 0)
    return split(_hour(world, previous), moment)[1]


def split(table: pa.Table, moment: datetime) -> tuple[pa.Table, pa.Table]:
    """(events before ``moment``, events from it on)."""
    before = pc.less(table["event_time"], pa.scalar(moment, table.schema.field("event_time").type))
    return table.filter(before), table.filter(pc.invert(before))


def land_history(world: World, store: ObjectStore, start: datetime, end: datetime) -> int:
    """Land change data and events of the hours in ``[start, end)``; returns the number of event rows."""
    for table, hour, envelopes in world.catalogue.envelopes(start, end):
        changes.land_cdc(store, table, hour, envelopes)
    changes.close_empty_hours(store, start, end)
    return land_events(world, store, start, end)


def stream_history(world: World, sink: EventSink, start: datetime, end: datetime) -> int:
    """Send the catalogue's changes before ``start``, then the hours in ``[start, end)``; returns the rows of events."""
    rows = 0
    # Where both clocks begin: hours are closed from here on.
    sink.hour(world.settings.start, (), event_table.empty())
    before = ((table, changes) for table, _, changes in world.catalogue.envelopes(world.settings.start, start))
    sink.hour(start, before, event_table.empty())
    for hour, events in history(world, start, end):
        sink.hour(hour + HOUR, world.changes(hour), events)
        rows += events.num_rows
    return rows


def land_events(world: World, store: ObjectStore, start: datetime, end: datetime) -> int:
    """Land the events of the hours in ``[start, end)``; returns their number."""
    hours = (raw_events.HourToLand(hour, table) for hour, table in history(world, start, end))
    return sum(manifest.rows for manifest in raw_events.land_hours(store, hours))


def _hour(world: World, hour: datetime) -> pa.Table:
    searches = world.searches(hour)
    positions = world.slot_positions(searches)
    reactions = world.react(hour, searches, positions)
    rng = np.random.default_rng([world.settings.seed, 6, int(hour.timestamp())])
    ranked = RankedSearches(searches, world.ad_ids, positions, [Exposure(INCUMBENT)] * len(searches))
    return delivered(ranked.events(reactions, rng), world.settings.duplicate_share, rng)


class HistoryArguments(LakeArguments):
    """Land all hours of a world's history before its live start."""

    program = "simulator.history"

    live_start: WholeHour = Field(description="whole UTC hour, ISO 8601")
    days: int = 8
    seed: int = 7


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = HistoryArguments.parse(arguments)
    world = World(documented_world(args.seed, args.live_start, args.days))
    store = ObjectStore.connect(args.bucket, region=settings.load().region)
    rows = land_history(world, store, world.settings.start, world.settings.live_start)
    print(f"landed {rows} events of {world.settings.history_hours} hours from {world.settings.start.isoformat()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
