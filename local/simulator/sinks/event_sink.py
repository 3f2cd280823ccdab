"""Where what happens in the marketplace goes: its operational database and the event log.

From there change data capture and the archiver bring it into the lake, as they do in production.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

import pyarrow as pa

from adrank.contracts.settings import Settings
from ingestion.landing.changes import CdcTable
from serving.router.event_log import EventLog
from simulator.sinks.operational_database import OperationalDatabase

Changes = Iterable[tuple[CdcTable, list[dict[str, Any]]]]


class EventSink(Protocol):
    """Takes what happens in a marketplace: impressions as they come, all else hour by hour, in order."""

    def impressions(self, events: pa.Table) -> None:
        """What the user of a search that was just ranked is shown; from any thread."""

    def hour(self, end: datetime, changes: Changes, events: pa.Table) -> None:
        """What changed in the catalogue and what users did until ``end``; the marketplace's clock then says ``end``.

        ``events`` has impressions only as far as nobody sent them before, or they are delivered again.
        """


class StreamingSink:
    """Changes are committed to the database, events are produced to Kafka; returns when both have them."""

    def __init__(self, log: EventLog, database: OperationalDatabase, settings: Settings) -> None:
        self._log = log
        self._database = database
        self._grace: Final = settings.events.grace

    def impressions(self, events: pa.Table) -> None:
        """Logged at once; :meth:`hour` waits for them."""
        self._log.send(_rows(events))

    def hour(self, end: datetime, changes: Changes, events: pa.Table) -> None:
        """Everything of the hour, then both clocks: nothing of it is in flight when an hour is called over."""
        for table, envelopes in changes:
            self._database.apply(table, envelopes)
        self._log.send(_rows(events))
        self._log.flush()
        self._database.beat(end)
        # The archiver keeps an hour open for late events: its clock has to be past that, too.
        self._log.heartbeat(end + self._grace)
        self._log.flush()


@contextmanager
def streaming_sink(settings: Settings) -> Iterator[StreamingSink]:
    """The sink of this process's settings; who may write to the database is in libpq's environment."""
    database = OperationalDatabase(f"host={settings.cdc.host} port={settings.cdc.port} dbname={settings.cdc.database}")
    log = EventLog(settings.events)
    try:
        yield StreamingSink(log, database, settings)
    finally:
        log.close()
        database.close()


def _rows(events: pa.Table) -> Iterable[Mapping[str, Any]]:
    for batch in events.sort_by("event_time").to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()
