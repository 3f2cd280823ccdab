"""Waiting for raw hours: for exactly the keys asked for, and not for ever."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import DataFile, RawManifest
from adrank.storage.object_store import ObjectStore
from demo import lake_counts
from stack.stall import ProgressWatch, StalledError

HOUR = datetime(2026, 3, 1, tzinfo=UTC)


class Memory(ObjectStore):
    """A bucket in this process."""

    def __init__(self) -> None:
        super().__init__("lake", None)
        self._objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self._objects[key] = body

    def get(self, key: str) -> bytes:
        return self._objects[key]

    def keys(self, prefix: str = "") -> Iterator[str]:
        return (key for key in sorted(self._objects) if key.startswith(prefix))


def test_it_returns_when_the_last_key_is_there() -> None:
    store = Memory()
    store.put("a", b"")
    closer = threading.Timer(0.2, store.put, ("b", b""))
    closer.start()
    lake_counts.wait_for_raw_hours(store, ["a", "b"], ProgressWatch(20, {}))
    closer.join()
    assert set(store.keys()) == {"a", "b"}


def test_what_is_missing_is_named() -> None:
    store = Memory()
    store.put("a", b"")
    store.put("b-and-more", b"")
    seconds = itertools.count()
    watch = ProgressWatch(0.5, {}, lambda: float(next(seconds)))
    with pytest.raises(StalledError, match="not closed: b; see the logs of archiver and capture: no progress for"):
        lake_counts.wait_for_raw_hours(store, ["a", "b"], watch)


def test_hours_are_described_by_their_manifests() -> None:
    store = Memory()
    for number in range(2):
        hour = HOUR + number * timestamps.HOUR
        manifest = RawManifest(
            hour=hour,
            revision_time=hour + timestamps.HOUR,
            watermark=hour + timestamps.HOUR,
            files=(DataFile(name="a", rows=1000), DataFile(name="b", rows=1)),
            rows=1001,
            late_rows=number,
        )
        store.put(lake.RAW_EVENTS.manifest(hour), manifest.model_dump_json().encode())
    assert (
        lake_counts.describe_raw_hours(store, HOUR, HOUR + 2 * timestamps.HOUR)
        == "2,002 rows in 4 files, 1 of them late"
    )
