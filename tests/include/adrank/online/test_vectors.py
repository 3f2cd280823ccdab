"""Serving vectors hold what the offline rows held, in the order that the model's card names."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adrank.contracts import registry
from adrank.contracts.online_layout import pack, unpack
from adrank.online.vectors import GroupDecoder, UnknownFeatureError, VectorLayout, servable
from tests.support.registries import known_late

REGISTRY = registry.load()
ENGAGEMENT = REGISTRY.group("ad_engagement")
AS_OF = datetime(2026, 3, 2, 12, tzinfo=UTC)
VALUES = {"impressions_7d": 10.0, "ctr_7d": 0.25}
ROW = pack(ENGAGEMENT, AS_OF, [VALUES.get(name, 1.0) for name in ENGAGEMENT.names])
CLICKS, CTR = (ENGAGEMENT.names.index(name) for name in ("clicks_7d", "ctr_7d"))
FLOATS = st.floats(width=32, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.tuples(*[FLOATS] * len(ENGAGEMENT.features)), max_size=30))
def test_decoding_many_rows_gives_what_unpacking_each_gives(rows: list[tuple[float, ...] | None]) -> None:
    packed = [None if row is None else pack(ENGAGEMENT, AS_OF, row) for row in rows]
    decoded = GroupDecoder(ENGAGEMENT).decode(packed)
    defaults = [f.default_value for f in ENGAGEMENT.features]
    expected = [defaults if one is None else unpack(ENGAGEMENT, one).values for one in packed]
    np.testing.assert_array_equal(
        decoded.values, np.array(expected, dtype=np.float32).reshape(-1, len(ENGAGEMENT.features))
    )
    assert decoded.missing.tolist() == [one is None for one in packed]
    assert decoded.values.dtype == np.float32


def test_a_full_layout_is_the_registry_order() -> None:
    names = tuple(f.name for f in REGISTRY.features)
    layout = VectorLayout.of(REGISTRY, names)
    number = {name: float(n) for n, name in enumerate(names)}
    rows = {g.name: GroupDecoder(g).decode([pack(g, AS_OF, [number[n] for n in g.names])]) for g in REGISTRY.groups}
    assert layout.groups == REGISTRY.groups
    assert layout.assemble(rows, [{}]).tolist() == [[float(n) for n in range(len(names))]]


def test_a_card_may_pick_and_reorder_features_and_only_their_groups_are_fetched() -> None:
    layout = VectorLayout.of(REGISTRY, ("context.slot", "ctr_7d", "impressions_7d"))
    rows = {ENGAGEMENT.name: GroupDecoder(ENGAGEMENT).decode([ROW])}
    assert [g.name for g in layout.groups] == ["ad_engagement"]
    np.testing.assert_array_equal(
        layout.assemble(rows, [{"slot": 3, "ignored": 9}]), np.array([[3, 0.25, 10]], dtype=np.float32)
    )


@pytest.mark.parametrize("context", [{}, {"slot": None}])
def test_a_context_value_that_is_not_there_is_nan(context: dict[str, float | None]) -> None:
    layout = VectorLayout.of(REGISTRY, ("context.slot",))
    assert layout.groups == ()
    assert np.isnan(layout.assemble({}, [context])).all()


def test_a_feature_that_nobody_can_give_is_refused_by_name() -> None:
    with pytest.raises(UnknownFeatureError, match="shoe_size"):
        VectorLayout.of(REGISTRY, ("ctr_7d", "shoe_size"))


def test_a_feature_that_is_known_only_after_the_impression_is_not_servable() -> None:
    late = known_late("clicks_1h")
    assert [f.name for f in late.features if f not in servable(late)] == ["clicks_1h"]
    with pytest.raises(UnknownFeatureError, match=r"not known before an impression: clicks_1h$"):
        VectorLayout.of(late, ("ctr_7d", "clicks_1h"))
    assert VectorLayout.of(late, ("ctr_7d",)).groups == (late.group("ad_engagement"),)


def test_a_row_of_another_layout_is_defaulted_and_told_apart_from_an_absent_one() -> None:
    other = bytes(8) + ROW[8:]
    decoded = GroupDecoder(ENGAGEMENT).decode([ROW, other, ROW[:-4], None])
    assert decoded.missing.tolist() == [False, True, True, True]
    assert decoded.mismatched.tolist() == [False, True, True, False]
    assert decoded.values[1, CLICKS] == 0
    assert np.isnan(decoded.values[1, CTR])


@pytest.mark.parametrize(("late", "stale"), [(0, False), (1, True)])
def test_a_row_is_stale_once_it_is_older_than_the_groups_ttl(late: int, stale: bool) -> None:
    event_time = AS_OF.timestamp() + ENGAGEMENT.ttl_hours * 3600 + late
    decoded = GroupDecoder(ENGAGEMENT).decode([ROW], event_time)
    assert decoded.stale.tolist() == [stale]
    assert decoded.missing.tolist() == [False]
    assert decoded.values[0, CLICKS] == (0 if stale else 1)
