"""Hours in which nobody searches are closed by the clock of whoever keeps the event log open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from adrank.contracts.timestamps import HOUR, floor_hour
from tests.include.ingestion.archiver.stream import Stream, row

pytestmark = pytest.mark.stack


def test_hours_without_events_are_closed_while_an_event_log_is_open(make_stream: Callable[..., Stream]) -> None:
    stream = make_stream(heartbeat_interval=timedelta(seconds=0.1))
    hour = floor_hour(datetime.now(UTC)) - 3 * HOUR
    with closing(stream.log), stream.archived():
        stream.say(row("last", hour))
        assert stream.closed(hour).rows == 1
        assert stream.closed(hour + HOUR).rows == 0
