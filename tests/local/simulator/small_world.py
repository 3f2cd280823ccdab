"""A small world, and a sink that lands its hours at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.landing import raw_events
from ingestion.landing.changes import land_cdc
from simulator.marketplace.settings import WorldSettings
from simulator.sinks.event_sink import Changes

LIVE_START = datetime(2026, 3, 9, tzinfo=UTC)


class LandedSink:
    """Lands each hour at once, as the archiver and the capture do in the end."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._told: list[pa.Table] = []

    def impressions(self, events: pa.Table) -> None:
        self._told.append(events)

    def hour(self, end: datetime, changes: Changes, events: pa.Table) -> None:
        for table, envelopes in changes:
            land_cdc(self._store, table, end - HOUR, envelopes)
        raw_events.land_hour(self._store, end - HOUR, pa.concat_tables([*self._told, events]))
        self._told.clear()


def small_settings(seed: int = 7) -> WorldSettings:
    return WorldSettings(
        seed=seed,
        live_start=LIVE_START,
        history_days=2,
        ads=200,
        sellers=30,
        categories=4,
        users=150,
        searches_per_hour=12,
        candidates=8,
    )
