"""How a feature row lies in the online stores."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from adrank.contracts import registry
from adrank.contracts.online_layout import FingerprintMismatchError, dynamodb_key, pack, redis_key, unpack

GROUP: Final = registry.load().group("ad_attributes")
OTHER: Final = registry.load().group("seller_stats")
AS_OF: Final = datetime(2026, 3, 1, 13, tzinfo=UTC)
VALUES: Final = (100.0, 25.0, 1.0, 0.25, 0.0, 0.5, 12.0)


def test_a_row_comes_out_as_it_went_in() -> None:
    assert unpack(GROUP, pack(GROUP, AS_OF, VALUES)) == (AS_OF, VALUES)


def test_a_missing_value_comes_out_missing() -> None:
    row = unpack(GROUP, pack(GROUP, AS_OF, (0.0, 0.0, 0.0, math.nan, 0.0, 0.0, 0.0)))
    assert math.isnan(row.values[3])


def test_the_layout_is_fingerprint_time_and_little_endian_floats() -> None:
    packed = pack(GROUP, AS_OF, VALUES)
    assert packed[:8].hex() == GROUP.fingerprint[:16]
    assert int.from_bytes(packed[8:16], "big") == int(AS_OF.timestamp())
    assert packed[16:20] == b"\x00\x00\xc8\x42"
    assert len(packed) == 16 + 4 * len(GROUP.features)


def test_bytes_of_the_time_compare_as_times_do() -> None:
    moments = [AS_OF + timedelta(hours=7 * step) for step in range(100)]
    packed = [pack(GROUP, moment, VALUES)[8:16] for moment in moments]
    assert packed == sorted(packed)


def test_another_layout_is_refused_with_the_features_expected() -> None:
    with pytest.raises(FingerprintMismatchError, match=r"seller_stats.*seller_item_count"):
        unpack(OTHER, pack(GROUP, AS_OF, VALUES))


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="packs 7 values, got 3"):
        pack(GROUP, AS_OF, VALUES[:3])


def test_keys_of_groups_and_entities_never_meet() -> None:
    assert redis_key(GROUP, "7") == "f:ad_attributes:7"
    assert dynamodb_key(OTHER, "7") == "seller_stats#7"
