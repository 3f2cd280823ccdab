"""What an hour tells, and in which order: nothing is in flight when the clocks say that it is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pyarrow as pa

from adrank.contracts.settings import Events, Settings
from serving.router.event_log import EventLog
from simulator.history import stream_history
from simulator.marketplace.world import World
from simulator.sinks.event_sink import StreamingSink
from simulator.sinks.operational_database import OperationalDatabase


class Scribe:
    """Stands for database and log; writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def apply(self, table: str, envelopes: list[dict[str, Any]]) -> int:
        self.calls.append((table, len(envelopes)))
        return len(envelopes)

    def beat(self, moment: datetime) -> None:
        self.calls.append(("beat", moment))

    def send(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.calls.append(("events", [row["event_time"] for row in rows]))

    def heartbeat(self, moment: datetime) -> None:
        self.calls.append(("heartbeat", moment))

    def flush(self) -> None:
        self.calls.append(("flush", None))


def sink(scribe: Scribe, settings: Settings) -> StreamingSink:
    return StreamingSink(cast(EventLog, scribe), cast(OperationalDatabase, scribe), settings)


def test_an_hour_is_delivered_before_it_is_called_over(small_world: World) -> None:
    settings, scribe = Settings(events=Events(grace=timedelta(minutes=3))), Scribe()
    end = small_world.settings.live_start
    hour = end - timedelta(hours=1)
    rows = stream_history(small_world, sink(scribe, settings), hour, end)
    last = scribe.calls[len(scribe.calls) - 1 - [what for what, _ in reversed(scribe.calls)].index("events") :]
    assert [what for what, _ in last] == ["events", "flush", "beat", "heartbeat", "flush"]
    assert len(last[0][1]) == rows > 0
    assert last[0][1] == sorted(last[0][1])
    assert (last[2][1], last[3][1]) == (end, end + timedelta(minutes=3)), "the archiver waits for its grace"


def test_impressions_are_sent_at_once_and_waited_for_with_their_hour() -> None:
    scribe = Scribe()
    moment = datetime(2026, 3, 9, 0, 30, tzinfo=UTC)
    shown = pa.Table.from_pylist([{"event_time": moment}])
    streaming = sink(scribe, Settings())
    streaming.impressions(shown)
    assert scribe.calls == [("events", [moment])]
    streaming.hour(moment + timedelta(minutes=30), (), shown.slice(0, 0))
    assert [what for what, _ in scribe.calls] == ["events", "events", "flush", "beat", "heartbeat", "flush"]


def test_the_catalogue_is_told_from_the_beginning_of_history(small_world: World) -> None:
    scribe = Scribe()
    start = small_world.settings.live_start
    stream_history(small_world, sink(scribe, Settings()), start, start)
    assert scribe.calls[0] == ("events", [])
    assert ("beat", small_world.settings.start) in scribe.calls
    assert sum(count for what, count in scribe.calls if what == "sellers") == small_world.settings.sellers
    assert sum(count for what, count in scribe.calls if what == "ads") >= small_world.settings.ads
