"""A listing costs what it returns: by the storage's own hands, and through the S3 API of a sole writer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nanio.errors import NoSuchKey
from nanio.storage.backend import ObjectInfo
from sortedcontainers import SortedDict

from localcloud.storage import shared_directory
from localcloud.storage.key_index import IndexedStorage, entries
from localcloud.storage.listing import render
from localcloud.storage.shared_directory import SharedDirectoryStorage
from tests.support.kafka_broker import StoreProcess

BUCKET = "bucket"
KEYS = ("a-b", "a.c", "a/x", "a/y/z", "a0", "b/c", "b/d", "ä/ö", "z/\U0001f600", "z/\uffee")


@pytest.fixture
def shared(tmp_path: Path) -> SharedDirectoryStorage:
    storage = SharedDirectoryStorage(tmp_path, chunk_size=1 << 20)
    storage.create_bucket(BUCKET)
    return storage


def put(storage: SharedDirectoryStorage, key: str, body: bytes = b"body") -> None:
    async def once() -> AsyncIterator[bytes]:
        yield body

    asyncio.run(storage.put_object(BUCKET, key, once()))


def listed(storage: SharedDirectoryStorage, prefix: str = "", delimiter: str = "", after: str = "") -> list[str]:
    """Keys and common prefixes, by pages of three."""
    found: list[str] = []
    while True:
        page = storage.page(BUCKET, prefix, delimiter, after, 3)
        found += sorted([*(entry.info.key for entry in page.entries), *page.common_prefixes], key=str.encode)
        if page.last is None:
            return found
        after = page.last


@pytest.fixture
def sidecars(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys whose sidecar was read since."""
    seen: list[str] = []
    read = shared_directory.read_metadata

    def watched(path: Path, key: str) -> Any:
        seen.append(key)
        return read(path, key)

    monkeypatch.setattr(shared_directory, "read_metadata", watched)
    return seen


def test_an_object_that_has_not_changed_is_listed_without_its_sidecar(
    shared: SharedDirectoryStorage, sidecars: list[str]
) -> None:
    for key in ("a", "b"):
        put(shared, key)
    assert listed(shared) == ["a", "b"]
    assert sidecars == ["a", "b"]
    assert listed(shared) == ["a", "b"]
    assert sidecars == ["a", "b"]


@pytest.mark.parametrize("body", [b"another, longer", b"same"])
def test_an_object_that_another_writer_replaced_is_listed_as_head_shows_it(
    shared: SharedDirectoryStorage, tmp_path: Path, body: bytes
) -> None:
    put(shared, "a")
    (before,) = shared.page(BUCKET, "", "", "", 10).entries
    staged = tmp_path / BUCKET / ".tmp.other"
    staged.write_bytes(body)
    os.utime(staged, (1_700_000_000, 1_700_000_000))
    staged.replace(tmp_path / BUCKET / "a")
    (after,) = shared.page(BUCKET, "", "", "", 10).entries
    assert after.info == shared.head_object(BUCKET, "a")
    assert (after.info.size, after.info.etag) != (before.info.size, before.info.etag)


@pytest.mark.parametrize("delimiter", ["", "/", "a", "y/"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "b/c", "z/", "none"])
@pytest.mark.parametrize("after", ["", "a/", "a/x", "b/", "b/cc"])
def test_the_index_and_the_walk_list_alike(
    shared: SharedDirectoryStorage, tmp_path: Path, prefix: str, delimiter: str, after: str
) -> None:
    for key in KEYS:
        put(shared, key, b"")
    indexed = IndexedStorage(tmp_path, chunk_size=1 << 20)
    assert listed(indexed, prefix, delimiter, after) == listed(shared, prefix, delimiter, after)
    if not delimiter:
        assert listed(indexed, prefix, after=after) == [
            key for key in sorted(KEYS, key=str.encode) if key.startswith(prefix) and key > after
        ]


def test_the_index_does_not_look_at_what_lies_below_a_common_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    index, looked = SortedDict(), []
    for number in range(1000):
        info = ObjectInfo(f"deep/{number:04}", 0, '""', datetime(2026, 1, 1, tzinfo=UTC))
        index[info.key] = render(info)
    bisect = index.bisect_left
    monkeypatch.setattr(index, "bisect_left", lambda key: looked.append(key) or bisect(key))
    assert list(entries(index, "", "/", "")) == [("deep/", None)]
    assert looked == ["deep0"]


def test_a_sole_writer_asks_no_disk_and_a_shared_directory_does(tmp_path: Path, shared: SharedDirectoryStorage) -> None:
    put(shared, "a")
    indexed = IndexedStorage(tmp_path, chunk_size=1 << 20)
    (tmp_path / BUCKET / "a").unlink()
    assert listed(indexed) == ["a"]
    assert indexed.head_object(BUCKET, "a").size == 4
    assert listed(shared) == []
    with pytest.raises(NoSuchKey):
        shared.head_object(BUCKET, "a")


@pytest.mark.parametrize("kind", [SharedDirectoryStorage, IndexedStorage])
def test_half_a_sidecar_that_a_killed_store_left_stops_no_later_put(
    tmp_path: Path, shared: SharedDirectoryStorage, kind: type[SharedDirectoryStorage]
) -> None:
    put(shared, "dt=1/a")
    half = tmp_path / BUCKET / ".nanio-meta/dt=1/a.json.tmp"
    half.write_text("{")
    with pytest.raises(FileExistsError):
        put(shared, "dt=1/a", b"second")
    again = kind(tmp_path, chunk_size=1 << 20)
    put(again, "dt=1/a", b"third")
    assert again.page(BUCKET, "", "", "", 10).entries[0].info.size == 5


def test_a_put_that_fails_when_its_file_is_in_place_is_seen_by_the_index(
    shared: SharedDirectoryStorage, tmp_path: Path
) -> None:
    indexed = IndexedStorage(tmp_path, chunk_size=1 << 20)
    put(indexed, "a", b"first")
    (tmp_path / BUCKET / ".nanio-meta/a.json.tmp").write_text("{")
    with pytest.raises(FileExistsError):
        put(indexed, "a", b"second")
    assert indexed.head_object(BUCKET, "a") == shared.head_object(BUCKET, "a")
    assert indexed.head_object(BUCKET, "a").size == 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    made = StoreProcess(tmp_path, bucket=BUCKET, sole_writer=True)
    made.start()
    yield made
    made.kill()


def seen(s3: Any) -> dict[str, tuple[str, int]]:
    """What is listed, each as HEAD shows it too."""
    objects = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    for item in objects:
        head = s3.head_object(Bucket=BUCKET, Key=item["Key"])
        assert (head["ETag"], head["ContentLength"]) == (item["ETag"], item["Size"])
    return {item["Key"]: (item["ETag"], item["Size"]) for item in objects}


@pytest.mark.stack
def test_every_kind_of_write_is_in_a_sole_writers_listings_also_after_it_was_killed(store: StoreProcess) -> None:
    s3 = store.connect().client
    for key in ("put", "replaced", "deleted", "deleted with others", "a&b <c>"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    s3.put_object(Bucket=BUCKET, Key="replaced", Body=b"22")
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "replaced"})
    s3.delete_object(Bucket=BUCKET, Key="deleted")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "deleted with others"}]})
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="in parts")["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key="in parts", UploadId=upload, PartNumber=1, Body=b"333")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=BUCKET, Key="in parts", UploadId=upload, MultipartUpload=parts)

    before = seen(s3)
    assert {key: size for key, (_, size) in before.items()} == {
        "put": 1,
        "replaced": 2,
        "copied": 2,
        "in parts": 3,
        "a&b <c>": 1,
    }
    store.kill()
    store.start()
    assert seen(s3) == before


@pytest.mark.stack
def test_a_sole_writer_refuses_writes_while_the_fault_is_armed(store: StoreProcess) -> None:
    s3 = store.connect().client
    store.refuse_writes(30)
    with pytest.raises(s3.exceptions.ClientError, match="SlowDown"):
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
    store.allow_writes()
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
    assert list(seen(s3)) == ["a"]


@pytest.mark.stack
@pytest.mark.parametrize("arguments", [{"MaxKeys": -1}, {"ContinuationToken": "zz"}])
def test_a_listing_that_makes_no_sense_is_an_invalid_argument(store: StoreProcess, arguments: dict[str, Any]) -> None:
    s3 = store.connect().client
    with pytest.raises(s3.exceptions.ClientError, match="InvalidArgument"):
        s3.list_objects_v2(Bucket=BUCKET, **arguments)
    assert s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1)["KeyCount"] == 0
