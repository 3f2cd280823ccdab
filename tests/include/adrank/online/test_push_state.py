"""What a push has to write, by what the store says of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adrank.contracts.manifests import PushedHour, PushedPartition
from adrank.online.push_state import REFRESH_SLICES, PushPlan, StoreState, begin, complete, plan, superseded_by

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOW = datetime(2031, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=72)
ALL = frozenset(range(REFRESH_SLICES))


def push(hour: int, digest: str = "d") -> PushedHour:
    partition = PushedPartition(group="g", fingerprint="f", revision=0, content_digest=digest)
    return PushedHour(hour=MIDNIGHT + timedelta(hours=hour), partitions=(partition,))


def after(*hours: int, begun: PushedHour | None = None, now: datetime = NOW) -> StoreState:
    """The state after complete pushes of these hours, one per clock hour, the last one at ``now``."""
    state: StoreState | None = None
    for ago, hour in zip(reversed(range(len(hours))), hours, strict=True):
        moment = now - timedelta(hours=ago)
        planned = plan(state, push(hour), moment, TTL)
        state = complete(begin(state, push(hour), moment, "server"), push(hour), planned, moment)
    return begin(state, begun, now, "server") if begun else state or pytest.fail("no push")


def test_to_a_store_of_which_nothing_is_known_every_row_is_written() -> None:
    assert plan(None, push(5), NOW, TTL) == PushPlan(None, (), ALL)


def test_after_a_complete_push_what_differs_and_the_hours_slice_are_written() -> None:
    assert plan(after(4), push(5), NOW, TTL) == PushPlan(push(4), (), frozenset({5}))
    assert plan(after(26), push(27), NOW, TTL) == PushPlan(push(26), (), frozenset({3}))


def test_a_push_that_died_is_finished_by_its_own_retry() -> None:
    assert plan(after(4, begun=push(5)), push(5), NOW, TTL).base == push(4)


def test_after_a_push_that_died_another_writes_every_row_and_seeks_leftovers() -> None:
    torn = after(4, begun=push(5))
    assert plan(torn, push(6), NOW, TTL) == PushPlan(None, (push(5), push(4)), ALL)
    assert plan(torn, push(5, "corrected"), NOW, TTL) == PushPlan(None, (push(5), push(4)), ALL)
    twice = begin(torn, push(6), NOW, "server")
    assert plan(twice, push(6), NOW, TTL) == PushPlan(None, (push(5), push(4)), ALL)


def test_a_full_push_is_full() -> None:
    assert plan(after(4), push(5), NOW, TTL, full=True) == PushPlan(None, (push(4),), ALL)


def test_within_a_day_of_hours_every_row_is_written_again() -> None:
    hours = list(range(40))
    for count in range(1, len(hours)):
        state = after(*hours[:count])
        assert plan(state, push(count), NOW, TTL).due == {count % REFRESH_SLICES}
        ages = [state.complete.hour - age.as_of for age in state.slices] if state.complete else []
        assert max(ages) < timedelta(hours=REFRESH_SLICES - 1)


def test_slices_that_skipped_hours_left_behind_are_due_at_once() -> None:
    assert plan(after(0, 1, 2), push(26), NOW, TTL).due == ALL
    assert plan(after(0, 1, 2), push(25), NOW, TTL).due == ALL - {2}


def test_slices_are_due_before_their_rows_expire_however_slowly_the_hours_go() -> None:
    written = after(0, 1)
    assert plan(written, push(2), NOW + timedelta(hours=22), TTL).due == {2}
    assert plan(written, push(2), NOW + timedelta(hours=23), TTL).due == ALL - {1}
    assert plan(written, push(2), NOW + timedelta(hours=24), TTL).due == ALL


def test_an_older_hour_than_any_that_began_is_superseded() -> None:
    assert superseded_by(None, push(5)) is None
    assert superseded_by(after(5), push(5)) is None
    assert superseded_by(after(5), push(6)) is None
    assert superseded_by(after(5), push(4)) == push(5).hour
    assert superseded_by(after(4, begun=push(6)), push(5)) == push(6).hour


def test_each_beginning_has_its_own_token_and_a_higher_fence_over_a_lost_state() -> None:
    state = after(4)
    again = begin(state, push(5), NOW, "server")
    assert again.token != state.token
    assert again.fence > state.fence
    assert begin(None, push(5), NOW + timedelta(hours=1), "server").fence > again.fence
    assert begin(again, push(5), NOW - timedelta(days=1), "server").fence > again.fence, "a clock that went back"


def test_a_complete_push_is_the_only_one_that_the_state_names() -> None:
    state = after(4, begun=push(5))
    done = complete(state, push(5), plan(state, push(5), NOW, TTL), NOW)
    assert done.complete == push(5)
    assert done.begun == ()
    assert done.token != state.token
