"""An hour's manifest names its changes, only ever grows, and says that an hour was quiet where nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest
from adrank.contracts.timestamps import DAY, floor_day
from adrank.storage.object_store import ConflictError, ObjectStore
from ingestion.landing import changes

HOUR = datetime(2026, 3, 1, 5, tzinfo=UTC)
END = HOUR + timestamps.HOUR


def manifest(store: ObjectStore, table: str = "ads", hour: datetime = HOUR) -> CdcManifest:
    return CdcManifest.model_validate_json(store.get(lake.RAW_CDC(table).manifest(hour)))


def test_more_files_of_an_hour_join_those_that_are_named_already(store: ObjectStore) -> None:
    first = changes.write_changes(store, "ads", HOUR, ['{"op":"c"}'])
    changes.add_to_manifest(store, "ads", HOUR, [first], END)
    second = changes.write_changes(store, "ads", HOUR, ['{"op":"u"}', '{"op":"d"}'])
    changes.add_to_manifest(store, "ads", HOUR, [second], END)
    changes.add_to_manifest(store, "ads", HOUR, [second, first], END)
    assert set(manifest(store).files) == {first, second}
    assert manifest(store).changes == 3


def test_the_watermark_never_goes_back(store: ObjectStore) -> None:
    for minutes in (10, 0):
        changes.add_to_manifest(store, "ads", HOUR, [], END + timedelta(minutes=minutes))
    assert manifest(store).watermark == END + timedelta(minutes=10)


class Interrupted(ObjectStore):
    """Somebody else extends the manifest between this one's reading and writing, some times over."""

    def __init__(self, store: ObjectStore, times: int) -> None:
        super().__init__(store.bucket, store.client)
        self._times = times

    def put_if_match(self, key: str, body: bytes, etag: str | None) -> str:
        if self._times:
            self._times -= 1
            raise ConflictError(key)
        return super().put_if_match(key, body, etag)


@pytest.mark.parametrize(("times", "lands"), [(3, True), (100, False)])
def test_who_is_overtaken_reads_again_and_tries_again(store: ObjectStore, times: int, lands: bool) -> None:
    interrupted: Any = Interrupted(store, times)
    if lands:
        changes.add_to_manifest(interrupted, "ads", HOUR, [], END)
        assert manifest(store).changes == 0
    else:
        with pytest.raises(ConflictError):
            changes.add_to_manifest(interrupted, "ads", HOUR, [], END)


def test_quiet_hours_of_history_get_manifests_and_others_keep_theirs(store: ObjectStore) -> None:
    file = changes.write_changes(store, "ads", HOUR, ['{"op":"c"}'])
    named = changes.add_to_manifest(store, "ads", HOUR, [file], END)
    for _ in range(2):
        changes.close_empty_hours(store, HOUR - timestamps.HOUR, END + timestamps.HOUR)
    assert manifest(store) == named
    for table, hour in (("ads", HOUR - timestamps.HOUR), ("ads", END), ("sellers", HOUR)):
        quiet = manifest(store, table, hour)
        assert (quiet.table, quiet.hour, quiet.files, quiet.watermark) == (table, hour, (), hour + timestamps.HOUR)
    assert store.find(lake.RAW_CDC("ads").manifest(END + timestamps.HOUR)) is None


def snapshot(store: ObjectStore, table: str, day: datetime, attempt: str = "1") -> str:
    """A snapshot that claims to hold; returns the claim's key."""
    key = lake.catalogue_claim(table, day, attempt)
    for name in (key, lake.CATALOGUE(table).manifest(day), f"{lake.CATALOGUE(table).day(day)}{attempt}/part-0.parquet"):
        store.put(name, b"")
    return key


def test_a_change_deletes_the_claims_of_the_snapshots_behind_its_hour_and_no_others(store: ObjectStore) -> None:
    day = floor_day(HOUR)
    kept = {snapshot(store, "ads", day), snapshot(store, "sellers", day + DAY)}
    for later in (1, 5):
        snapshot(store, "ads", day + later * DAY)
        snapshot(store, "ads", day + later * DAY, attempt="2")
    everything = set(store.keys("catalogue/"))
    file = changes.write_changes(store, "ads", HOUR, ['{"op":"c"}'])
    changes.add_to_manifest(store, "ads", HOUR, [], END)
    assert set(store.keys("catalogue/")) == everything, "an hour that is closed without a change outdates nothing"
    changes.add_to_manifest(store, "ads", HOUR, [file], END)
    left = set(store.keys("catalogue/"))
    assert {key for key in left if "_CLAIM" in key} == kept
    assert {key for key in everything - left if "_CLAIM" not in key} == set(), "only claims go"


def test_a_change_that_was_named_before_its_process_died_still_outdates_snapshots(store: ObjectStore) -> None:
    file = changes.write_changes(store, "ads", HOUR, ['{"op":"c"}'])
    changes.add_to_manifest(store, "ads", HOUR, [file], END)
    claim = snapshot(store, "ads", floor_day(HOUR) + DAY)
    changes.add_to_manifest(store, "ads", HOUR, [file], END)
    assert store.find(claim) is None


class BuiltMeanwhile(ObjectStore):
    """A snapshot is begun on top of another one just before that one's claim is deleted."""

    def __init__(self, store: ObjectStore, day: datetime) -> None:
        super().__init__(store.bucket, store.client)
        self._day: datetime | None = day

    def delete(self, key: str) -> None:
        day, self._day = self._day, None
        if day is not None:
            snapshot(self, "ads", day)
        super().delete(key)


def test_a_snapshot_that_begins_on_top_of_an_outdated_one_is_outdated_too(store: ObjectStore) -> None:
    snapshot(store, "ads", floor_day(HOUR) + DAY)
    busy: Any = BuiltMeanwhile(store, floor_day(HOUR) + 2 * DAY)
    changes.add_to_manifest(busy, "ads", HOUR, [changes.write_changes(store, "ads", HOUR, ['{"op":"c"}'])], END)
    assert not [key for key in store.keys("catalogue/") if "_CLAIM" in key]
