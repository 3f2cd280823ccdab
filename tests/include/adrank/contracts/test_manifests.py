"""Manifests: what makes a partition visible, and the digest of its rows."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from adrank.contracts.manifests import RawManifest, rows_digest

HOUR = datetime(2026, 3, 1, tzinfo=UTC)
RAW = RawManifest(hour=HOUR, revision_time=HOUR, watermark=HOUR, rows=0)


def test_a_manifest_survives_its_json() -> None:
    assert RawManifest.model_validate_json(RAW.model_dump_json()) == RAW


def test_an_unknown_field_is_refused_rather_than_ignored() -> None:
    with pytest.raises(ValidationError, match="checksum"):
        RawManifest.model_validate({**RAW.model_dump(), "checksum": "x"})


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValidationError, match="rows"):
        RawManifest.model_validate({**RAW.model_dump(), "rows": -1})


def test_a_manifest_cannot_be_changed_after_the_fact() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RAW.rows = 5  # type: ignore[misc]


def test_the_rows_digest_depends_on_the_rows_and_not_on_their_order() -> None:
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(50)]
    shuffled = random.Random(1).sample(digests, len(digests))
    assert rows_digest(shuffled) == rows_digest(digests)
    assert rows_digest(digests[:-1]) != rows_digest(digests)


def test_a_row_that_is_there_twice_counts_twice() -> None:
    assert rows_digest(["aa", "aa"]) != rows_digest(["aa"])


def test_no_rows_have_a_digest_too() -> None:
    assert rows_digest([]) == hashlib.sha256(b"").hexdigest()
