"""What is served is held against the offline row bit for bit, and every difference is counted as one thing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from adrank.contracts import registry
from adrank.contracts.online_layout import pack
from adrank.online.comparison import compare, differs, entities_where, extra
from adrank.online.vectors import GroupDecoder, GroupRows, Matrix

GROUP = registry.load().group("ad_engagement")
END = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROW = [float(n) for n in range(1, len(GROUP.features) + 1)]
DEFAULTS = [feature.default_value for feature in GROUP.features]
OTHER = [*ROW[:-1], ROW[-1] * 3]


def read(*packed: bytes | None) -> GroupRows:
    return GroupDecoder(GROUP).decode(packed, END.timestamp())


def at(hours: int, values: list[float] = ROW) -> bytes:
    return pack(GROUP, END + timedelta(hours=hours), values)


def offline(rows: int) -> Matrix:
    return np.array([ROW] * rows, dtype=np.float32)


def test_every_key_is_one_thing_only() -> None:
    ttl = GROUP.ttl_hours
    online = read(at(0), at(-24), at(1, OTHER), None, bytes(8) + at(0)[8:], at(-ttl - 1), at(0, OTHER))
    found = compare(offline(7), online, END.timestamp())
    assert {
        "newer": found.newer.tolist(),
        "missing": found.missing.tolist(),
        "other_layout": found.other_layout.tolist(),
        "stale": found.stale.tolist(),
        "mismatched": found.mismatched.tolist(),
    } == {
        name: [n == place for n in range(7)]
        for place, name in enumerate(("newer", "missing", "other_layout", "stale", "mismatched"), 2)
    }


def test_a_row_pushed_for_an_earlier_hour_is_right_when_its_values_are() -> None:
    found = compare(offline(1), read(at(-23)), END.timestamp())
    assert not found.differing.any()
    assert found.smape.tolist() == [0] * len(ROW)


def test_what_is_served_for_want_of_a_row_counts_feature_by_feature() -> None:
    found = compare(np.array([DEFAULTS, ROW], dtype=np.float32), read(None, None), END.timestamp())
    assert found.missing.tolist() == [True, True]
    assert found.differing.any(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("left", "right", "different"),
    [
        (np.nan, np.nan, False),
        (np.nan, 0.0, True),
        (0.1, np.nextafter(np.float32(0.1), np.float32(1)), True),
        (0.0, -0.0, True),
        (5.0, 5.0, False),
    ],
)
def test_values_are_equal_when_their_bits_are_and_nan_is_nan(left: float, right: float, different: bool) -> None:
    one, other = np.array([[left]], dtype=np.float32), np.array([[right]], dtype=np.float32)
    assert differs(one, other).item() is different


def test_another_nan_is_nan_too() -> None:
    quiet = np.array([[0x7FC00001]], dtype=np.uint32).view(np.float32)
    assert not differs(quiet, np.array([[np.nan]], dtype=np.float32)).any()


def test_smape_is_the_mean_over_the_rows_compared() -> None:
    online = read(at(0), at(0, OTHER), at(1, OTHER), at(0, [*ROW[:-1], float("nan")]))
    smape = compare(offline(4), online, END.timestamp()).smape
    assert smape[:-1].tolist() == [0] * (len(ROW) - 1)
    assert smape[-1] == pytest.approx((0 + 0.5 + 1) / 3)


def test_nothing_sampled_is_nothing_found() -> None:
    found = compare(np.empty((0, len(ROW)), dtype=np.float32), read(), END.timestamp())
    assert found.mismatched.tolist() == []
    assert found.smape.tolist() == [0] * len(ROW)


def test_a_key_without_offline_row_is_extra_unless_it_serves_the_defaults() -> None:
    gone = [at(0), at(0, DEFAULTS), at(1), None, at(-GROUP.ttl_hours - 1)]
    assert extra(GROUP, read(*gone), END.timestamp()).tolist() == [True, False, False, False, False]


def test_names_are_those_marked() -> None:
    assert entities_where(["a", "b", "c"], np.array([True, False, True])) == ["a", "c"]
