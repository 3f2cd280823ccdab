"""A document is written over the version that its writer knows, or not at all."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from adrank.storage import documents
from adrank.storage.documents import VersionedDocument
from adrank.storage.object_store import ConflictError, ObjectStore

KEY = "state/counter.json"


class Counter(BaseModel):
    n: int


def opened(bucket: ObjectStore) -> VersionedDocument[Counter]:
    return VersionedDocument.open(bucket, KEY, Counter)


def test_a_document_that_is_not_there_is_made_once(bucket: ObjectStore) -> None:
    mine, another = opened(bucket), opened(bucket)
    assert mine.current is None
    mine.save(Counter(n=1))
    with pytest.raises(ConflictError):
        another.save(Counter(n=2))
    assert (another.current, opened(bucket).current) == (None, Counter(n=1))


def test_who_saved_last_may_save_again_and_nobody_else(bucket: ObjectStore) -> None:
    mine = opened(bucket)
    mine.save(Counter(n=1))
    another = opened(bucket)
    mine.save(Counter(n=2))
    mine.save(Counter(n=3))
    with pytest.raises(ConflictError):
        another.save(Counter(n=9))
    assert opened(bucket).current == mine.current == Counter(n=3)


def test_one_that_is_no_such_document_is_not_opened(bucket: ObjectStore) -> None:
    bucket.put(KEY, b'{"n": "many"}')
    with pytest.raises(ValidationError):
        opened(bucket)


def test_an_update_that_is_overtaken_begins_anew(bucket: ObjectStore) -> None:
    seen = []

    def one_more(found: Counter | None) -> Counter:
        seen.append(found.n if found else 0)
        if len(seen) == 1:
            opened(bucket).save(Counter(n=10))
        return Counter(n=seen[-1] + 1)

    assert documents.update(bucket, KEY, Counter, one_more) == opened(bucket).current == Counter(n=11)
    assert seen == [0, 10]


def test_an_update_that_is_overtaken_again_and_again_fails(bucket: ObjectStore) -> None:
    def overtaken(found: Counter | None) -> Counter:
        opened(bucket).save(Counter(n=found.n + 1 if found else 0))
        return Counter(n=-1)

    with pytest.raises(ConflictError):
        documents.update(bucket, KEY, Counter, overtaken, attempts=3)
    assert opened(bucket).current == Counter(n=2)


def test_an_update_that_changes_nothing_writes_nothing(bucket: ObjectStore) -> None:
    opened(bucket).save(Counter(n=1))
    before = bucket.etags("state/")
    documents.update(bucket, KEY, Counter, lambda _: Counter(n=1))
    assert bucket.etags("state/") == before
