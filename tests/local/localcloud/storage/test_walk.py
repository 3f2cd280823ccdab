"""A walk gives S3's key order and opens only the directories that a listing needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.storage import walk as module
from localcloud.storage.walk import walk

KEYS = ("a-b", "a.c", "a/x", "a/y/z", "a0", "b/c", "b/d", "ä/ö", "z/\U0001f600", "z/\uffee")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    for key in KEYS:
        make(tmp_path, key)
    return tmp_path


def make(bucket: Path, key: str) -> None:
    (bucket / key).parent.mkdir(parents=True, exist_ok=True)
    (bucket / key).write_bytes(b"")


def keys(bucket: Path, prefix: str = "", after: str = "", folded: bool = False) -> list[str]:
    return [key for key, _ in walk(bucket, prefix, after=after, folded=folded)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, bucket: Path) -> list[str]:
    """The directories that were opened since, relative to the bucket."""
    seen: list[str] = []
    scandir = os.scandir

    def watched(path: str) -> object:
        seen.append(os.path.relpath(path, bucket))
        return scandir(path)

    monkeypatch.setattr(module.os, "scandir", watched)
    return seen


def test_keys_come_in_the_order_of_their_utf8_bytes(bucket: Path) -> None:
    assert keys(bucket) == sorted(KEYS, key=str.encode)
    # By UTF-16 units, as Java sorts, the two would change places.
    assert keys(bucket, "z/") == ["z/\uffee", "z/\U0001f600"]


@settings(max_examples=60, deadline=None)
@given(prefix=st.sampled_from(["", "a", "a/", "a/y/", "b", "b/d", "c", "ä/"]), after=st.sampled_from(["", "a/", *KEYS]))
def test_a_walk_that_starts_anywhere_is_the_rest_of_the_whole_walk(
    tmp_path_factory: pytest.TempPathFactory, prefix: str, after: str
) -> None:
    bucket = tmp_path_factory.getbasetemp() / "any"
    for key in KEYS:
        make(bucket, key)
    assert keys(bucket, prefix, after) == [
        key for key in sorted(KEYS, key=str.encode) if key.startswith(prefix) and key > after
    ]


def test_what_lies_before_the_start_is_not_opened(bucket: Path, opened: list[str]) -> None:
    assert keys(bucket, after="a/y/z") == sorted((key for key in KEYS if key > "a/y/z"), key=str.encode)
    assert opened == [".", "a", "a/y", "b", "z", "ä"]


def test_what_lies_beside_the_prefix_is_not_opened(bucket: Path, opened: list[str]) -> None:
    assert keys(bucket, "a/y/") == ["a/y/z"]
    assert opened == ["a/y"]


def test_what_lies_below_a_common_prefix_is_not_walked(bucket: Path, opened: list[str]) -> None:
    for number in range(50):
        make(bucket, f"b/deep/{number:02}/key")
    assert keys(bucket, folded=True) == ["a-b", "a.c", "a/", "a0", "b/", "z/", "ä/"]
    assert not [path for path in opened if path.startswith("b/deep")]
    # Unfolded it is: the watch would have seen it.
    assert len(keys(bucket, "b/")) == 52
    assert len([path for path in opened if path.startswith("b/deep")]) == 51


def test_a_directory_without_objects_is_no_common_prefix(bucket: Path) -> None:
    (bucket / "empty/er").mkdir(parents=True)
    make(bucket, "hidden/_temporary/0/part")
    assert keys(bucket, folded=True) == ["a-b", "a.c", "a/", "a0", "b/", "z/", "ä/"]
    make(bucket, "empty/er/not")
    assert "empty/" in keys(bucket, folded=True)


@pytest.mark.parametrize("prefix", ["../", "a/../b/", "link/", "_temporary/", "a//", "a-b/"])
def test_a_prefix_that_leads_out_of_the_bucket_or_into_no_directory_finds_nothing(bucket: Path, prefix: str) -> None:
    outside = bucket.parent / "outside"
    make(outside, "secret")
    (bucket / "link").symlink_to(outside)
    make(bucket, "_temporary/part")
    assert keys(bucket, prefix) == []
