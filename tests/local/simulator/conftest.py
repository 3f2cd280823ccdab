"""A small world, and a lake bucket behind the S3 API, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pyarrow as pa
import pytest
from moto import mock_aws

from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.landing import raw_events
from ingestion.landing.changes import land_cdc
from simulator.marketplace.settings import WorldSettings
from simulator.marketplace.world import World
from simulator.sinks.event_sink import Changes

LIVE_START = datetime(2026, 3, 9, tzinfo=UTC)

_serial = itertools.count()


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


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """The S3 API of this process; credentials that open nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield


@pytest.fixture
def store(aws: None) -> ObjectStore:
    """An empty bucket."""
    bucket = f"lake-under-test-{next(_serial)}"
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    return ObjectStore(bucket, client)


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


@pytest.fixture(scope="session")
def small_world() -> World:
    """Two days of history of a couple of hundred ads."""
    return World(small_settings())
