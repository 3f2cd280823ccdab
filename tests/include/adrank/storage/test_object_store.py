"""Conditional writes, where the store's answers are not as simple as yes and no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adrank.storage.object_store import ConflictError, ObjectStore, ObjectStoreError, Version


class Racing:
    """A client whose conditional writes meet another one: ``answers`` are error codes, or None for a write."""

    def __init__(self, client: Any, *answers: str | None, takes_effect: bool = False) -> None:
        self._client = client
        self._answers = list(answers)
        self._takes_effect = takes_effect

    def put_object(self, **arguments: Any) -> Any:
        code = self._answers.pop(0) if self._answers else None
        done = self._client.put_object(**arguments) if code is None or self._takes_effect else None
        if code is None:
            return done
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject")  # type: ignore[typeddict-item]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def racing(bucket: ObjectStore, *answers: str | None, takes_effect: bool = False) -> ObjectStore:
    return ObjectStore(bucket.bucket, Racing(bucket.client, *answers, takes_effect=takes_effect))


def test_a_write_whose_answer_was_lost_counts_as_done(bucket: ObjectStore) -> None:
    etag = racing(bucket, "PreconditionFailed", takes_effect=True).put_if_match("k", b"1", None)
    found = bucket.find_version("k")
    assert found is not None
    assert (found.body, found.etag) == (b"1", etag)


def test_a_write_that_raced_with_one_that_came_to_nothing_is_tried_again(bucket: ObjectStore) -> None:
    racing(bucket, *["ConditionalRequestConflict"] * 2).put_if_match("k", b"1", None)
    assert bucket.find("k") == b"1"


def test_a_write_that_raced_with_one_that_was_done_is_a_conflict(bucket: ObjectStore) -> None:
    bucket.put("k", b"another's")
    with pytest.raises(ConflictError):
        racing(bucket, "ConditionalRequestConflict").put_if_match("k", b"1", None)
    assert bucket.find("k") == b"another's"


def test_any_other_refusal_is_no_conflict(bucket: ObjectStore) -> None:
    with pytest.raises(ObjectStoreError, match="AccessDenied") as refused:
        racing(bucket, "AccessDenied").put_if_match("k", b"1", None)
    assert not isinstance(refused.value, ConflictError)


def test_a_version_knows_when_it_was_asked_for_by_the_stores_clock() -> None:
    written = datetime(2026, 3, 1, 12, tzinfo=UTC)
    version = Version(b"", "e", written, "Sun, 01 Mar 2026 12:01:00 GMT")
    assert version.now - version.last_modified == timedelta(minutes=1)
