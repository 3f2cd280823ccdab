"""Files, checkpoint, only then the database may forget; manifests last. Killed anywhere, nothing is lost or doubled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest
from adrank.contracts.settings import Cdc
from adrank.contracts.timestamps import DAY
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ConflictError, ObjectStore, ObjectStoreError, Version
from ingestion.capture import sink as sink_module
from ingestion.capture.checkpoint import CheckpointError, CheckpointStore
from ingestion.capture.envelopes import Change, EnvelopeError
from ingestion.capture.sink import ChangeRecord, ChangeSink, StoppedError
from ingestion.landing.changes import CdcTable

HOUR = datetime(2026, 3, 1, 5, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = timedelta(0)


class Killed(BaseException):
    """What SIGKILL is to a process."""


class FakeEngine:
    """Hands over a log from an offset on, as Debezium does: whole positions behind it."""

    def __init__(self, offset: dict[str, Any] | None) -> None:
        self.start = 0 if offset is None else int(offset["lsn"])
        self.acknowledged: list[int] = []

    def offset(self, record: Any) -> dict[str, str | int | bool | None]:
        return {"lsn": record}

    def acknowledge(self, record: Any) -> None:
        self.acknowledged.append(record)

    def deliver(self, log: Iterable[Change]) -> list[ChangeRecord]:
        return [ChangeRecord(change, change.lsn) for change in log if change.lsn > self.start]


class MemoryStore(ObjectStore):
    """A bucket in memory, with conditional puts."""

    def __init__(self) -> None:
        super().__init__("lake", None)
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body

    def put_if_match(self, key: str, body: bytes, etag: str | None) -> str:
        there = self.find_version(key)
        if etag != (there.etag if there else None):
            raise ConflictError(key)
        self.objects[key] = body
        return str(hash(body))

    def find_version(self, key: str) -> Version | None:
        body = self.objects.get(key)
        return None if body is None else Version(body, str(hash(body)), HOUR, "")

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        return (key for key in sorted(self.objects) if key.startswith(prefix))

    def folders(self, prefix: str) -> list[str]:
        below = (key.removeprefix(prefix) for key in self.keys(prefix))
        return sorted({f"{prefix}{key.split('/')[0]}/" for key in below if "/" in key})


@pytest.fixture
def store() -> MemoryStore:
    """An empty bucket."""
    return MemoryStore()


class FailingStore:
    """An object store that fails at one of its writes, before or after it took effect."""

    def __init__(self, store: ObjectStore, at: int, after: bool, error: BaseException) -> None:
        self._store = store
        self._left = at
        self._after = after
        self._error = error
        self.bucket = store.bucket

    def put(self, key: str, body: bytes) -> None:
        self._write(lambda: self._store.put(key, body))

    def put_if_match(self, key: str, body: bytes, etag: str | None) -> str:
        return str(self._write(lambda: self._store.put_if_match(key, body, etag)))

    def delete(self, key: str) -> None:
        self._write(lambda: self._store.delete(key))

    def _write(self, write: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise self._error
        answer = write()
        if self._left == 0:
            raise self._error
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def change(
    lsn: int, minute: float, table: str = "ads", op: str = "u", snapshot: bool = False, last: bool = False, **image: Any
) -> Change:
    us = (HOUR + timedelta(minutes=minute) - EPOCH) // timedelta(microseconds=1)
    line = json.dumps({"op": op, "minute": minute, "source": {"lsn": lsn}, **image})
    return Change(table, op, lsn, us, us, snapshot, last, image, line)


def beat(lsn: int, minute: float) -> Change:
    us = (HOUR + timedelta(minutes=minute) - EPOCH) // timedelta(microseconds=1)
    return change(lsn, minute, "adrank_heartbeat", beat_at=us)


def start(store: Any, flush_interval: timedelta = AT_ONCE) -> tuple[ChangeSink, FakeEngine]:
    checkpoints = CheckpointStore(store, "adrank")
    checkpoint = checkpoints.load("log")
    engine = FakeEngine(checkpoint.offset)
    sink = ChangeSink(store, checkpoints, checkpoint, engine, Cdc(flush_interval=flush_interval), threading.Event())
    sink.recover()
    return sink, engine


def landed(store: ObjectStore, table: CdcTable = "ads", hour: datetime = HOUR) -> list[tuple[int, float]]:
    """(position, minute) of the changes that the hour's manifest names, in order."""
    body = store.find(lake.RAW_CDC(table).manifest(hour))
    assert body is not None, "the hour is not closed"
    manifest = CdcManifest.model_validate_json(body)
    lines = [line for f in manifest.files for line in store.get(lake.RAW_CDC(table).hour(hour) + f.name).splitlines()]
    assert len(lines) == manifest.changes
    return sorted((found["source"]["lsn"], found["minute"]) for found in map(json.loads, lines))


def is_closed(store: ObjectStore, hour: datetime, table: CdcTable = "ads") -> bool:
    return store.find(lake.RAW_CDC(table).manifest(hour)) is not None


def test_an_hour_is_closed_when_a_heartbeat_has_passed_its_end(store: ObjectStore) -> None:
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([beat(1, 0), change(2, 10), change(3, 20), beat(4, 59.99)]))
    assert not is_closed(store, HOUR)
    sink.handle_batch(engine.deliver([change(5, 59.999), change(6, 60), beat(7, 60)]))
    assert landed(store) == [(2, 10), (3, 20), (5, 59.999)]
    assert not is_closed(store, HOUR + timestamps.HOUR)


def test_hours_without_changes_are_closed_too_of_both_tables(store: ObjectStore) -> None:
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([beat(1, 0)]))
    sink.handle_batch(engine.deliver([beat(2, 240)]))
    closed = [
        hour for hour in timestamps.hours(HOUR - timestamps.HOUR, HOUR + 6 * timestamps.HOUR) if is_closed(store, hour)
    ]
    assert closed == list(timestamps.hours(HOUR, HOUR + 4 * timestamps.HOUR))
    assert all(is_closed(store, hour, "sellers") for hour in closed)
    manifest = CdcManifest.model_validate_json(store.get(lake.RAW_CDC("ads").manifest(HOUR)))
    assert (manifest.files, manifest.watermark) == ((), HOUR + 4 * timestamps.HOUR)


def test_closing_begins_at_the_first_heartbeat_however_many_come_at_once(store: ObjectStore) -> None:
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([beat(1, 0), change(2, 70), beat(3, 60), beat(4, 180)]))
    assert [is_closed(store, HOUR + number * timestamps.HOUR) for number in range(4)] == [True, True, True, False]


def test_changes_wait_for_more_but_not_for_long(store: ObjectStore) -> None:
    sink, engine = start(store, timedelta(hours=1))
    sink.handle_batch(engine.deliver([change(1, 1)]))
    sink.flush_if_due()
    assert not list(store.keys("raw/"))
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([change(1, 1)]))
    assert [key.split("/")[1] for key in store.keys("raw/")] == ["cdc", "checkpoints"]


def test_lag_is_the_age_of_what_has_not_landed(store: ObjectStore) -> None:
    sink, engine = start(store, timedelta(hours=1))
    assert sink.lag() == 0
    sink.handle_batch(engine.deliver([change(1, 1), change(2, 2)]))
    assert sink.lag() == pytest.approx(time.time() - (HOUR + timedelta(minutes=1)).timestamp(), abs=5)
    sink.close()
    assert sink.lag() == 0


def test_what_is_held_when_the_process_is_told_to_stop_is_landed(store: ObjectStore) -> None:
    sink, engine = start(store, timedelta(hours=1))
    sink.handle_batch(engine.deliver([change(1, 1), change(2, 2)]))
    sink.close()
    sink.handle_batch(engine.deliver([change(3, 3)]))
    again, engine = start(store)
    again.handle_batch(engine.deliver([change(1, 1), change(2, 2), change(3, 3), beat(4, 60), beat(5, 61)]))
    assert landed(store) == [(1, 1), (2, 2), (3, 3)]


def test_the_database_may_forget_only_what_a_checkpoint_holds(store: ObjectStore) -> None:
    sink, engine = start(FailingStore(store, 2, False, Killed()))
    with pytest.raises(Killed):
        sink.handle_batch(engine.deliver([change(1, 1), change(2, 2)]))
    assert engine.acknowledged == []


LOG = [
    beat(1, 0),
    change(2, 10),
    change(2, 11),
    change(3, 12, "sellers"),
    change(4, 61),
    beat(5, 60),
    change(6, 30),
    change(7, 62),
    change(7, 63),
    beat(8, 121),
]


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
def test_killed_at_any_write_nothing_is_lost_or_doubled(after: bool) -> None:
    at, killed = 0, True
    while killed:
        at += 1
        store = MemoryStore()
        store.put(lake.catalogue_claim("ads", HOUR + DAY, "1"), b"")
        killed = False
        try:
            deliver_one_by_one(FailingStore(store, at, after, Killed()))
        except Killed:
            killed = True
            deliver_one_by_one(store)
        require_all_once(store)
    assert at > 20, "the log no longer makes many writes"


def deliver_one_by_one(store: Any) -> None:
    sink, engine = start(store)
    for delivery in engine.deliver(LOG):
        sink.handle_batch([delivery])


def require_all_once(store: ObjectStore) -> None:
    assert landed(store) == [(2, 10), (2, 11), (6, 30)]
    assert landed(store, hour=HOUR + timestamps.HOUR) == [(4, 61), (7, 62), (7, 63)]
    assert landed(store, "sellers") == [(3, 12)]
    assert not list(store.keys(lake.CATALOGUE("ads").prefix)), "no snapshot without these changes holds"


def test_a_roll_amid_changes_that_had_landed_already_forgets_none_of_them(store: ObjectStore) -> None:
    log = [beat(1, 0), change(2, 10), change(2, 11), change(2, 12), change(2, 13), beat(3, 60)]
    sink, engine = start(store)
    sink.handle_batch(engine.deliver(log[:4]))
    heir, engine = start(store)
    first, *others = engine.deliver(log)
    heir.handle_batch([first])
    heir.handle_batch(others)
    assert landed(store) == [(2, 10), (2, 11), (2, 12), (2, 13)]


def test_a_late_change_lands_in_its_closed_hour_as_one_more_file(store: ObjectStore) -> None:
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([beat(1, 0), change(2, 1), beat(3, 61)]))
    before = CdcManifest.model_validate_json(store.get(lake.RAW_CDC("ads").manifest(HOUR)))
    sink.handle_batch(engine.deliver([change(4, 2)]))
    after = CdcManifest.model_validate_json(store.get(lake.RAW_CDC("ads").manifest(HOUR)))
    assert set(before.files) < set(after.files)
    assert landed(store) == [(2, 1), (4, 2)]


def test_a_snapshot_counts_only_when_it_is_whole(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "FLUSH_ROWS", 1)
    sink, engine = start(store)
    rows = [change(1, minute, op="r", snapshot=True) for minute in (1, 2)]
    sink.handle_batch(engine.deliver(rows))
    sink.close()
    assert store.find(lake.CDC_CHECKPOINT.of("adrank")) is None
    sink, engine = start(store)
    again = [change(9, 2, op="r", snapshot=True), change(9, 3, op="r", snapshot=True, last=True)]
    sink.handle_batch(engine.deliver([*again, beat(10, 60), beat(11, 61)]))
    assert landed(store) == [(9, 2), (9, 3)]
    assert engine.acknowledged[0] == 9


def test_a_refusing_object_store_is_asked_until_it_takes_them(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "_PAUSES", (0.001, 0.001))
    sink, engine = start(FailingStore(store, 2, False, ObjectStoreError("no")))
    sink.handle_batch(engine.deliver([beat(1, 0), change(2, 1), beat(3, 60)]))
    assert landed(store) == [(2, 1)]


def test_and_who_is_told_to_stop_meanwhile_stops(store: ObjectStore) -> None:
    stop = threading.Event()
    stop.set()
    failing: Any = FailingStore(store, 1, False, ObjectStoreError("no"))
    checkpoints = CheckpointStore(failing, "adrank")
    engine = FakeEngine(None)
    sink = ChangeSink(failing, checkpoints, checkpoints.load("log"), engine, Cdc(flush_interval=AT_ONCE), stop)
    with pytest.raises(StoppedError):
        sink.handle_batch(engine.deliver([change(1, 1)]))
    assert engine.acknowledged == []


def test_of_two_processes_the_earlier_one_fails(store: ObjectStore) -> None:
    zombie, zombies_engine = start(store)
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([change(1, 1), change(2, 2)]))
    with pytest.raises(FencedError, match="two capture processes"):
        zombie.handle_batch(zombies_engine.deliver([change(1, 1)]))


def test_a_checkpoint_of_another_database_is_refused(store: ObjectStore) -> None:
    sink, engine = start(store)
    sink.handle_batch(engine.deliver([change(1, 1)]))
    with pytest.raises(CheckpointError, match="belongs to log log, the database's is other"):
        CheckpointStore(store, "adrank").load("other")


def test_a_heartbeat_without_a_time_is_refused(store: ObjectStore) -> None:
    sink, engine = start(store)
    with pytest.raises(EnvelopeError, match=r"adrank_heartbeat\.beat_at"):
        sink.handle_batch(engine.deliver([change(1, 1, "adrank_heartbeat", beat_at="infinity")]))


def test_a_table_that_nobody_asked_for_is_refused(store: ObjectStore) -> None:
    sink, engine = start(store)
    with pytest.raises(EnvelopeError, match="orders"):
        sink.handle_batch(engine.deliver([change(1, 1, "orders")]))
