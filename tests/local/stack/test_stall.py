"""A wait fails by standing still, not by taking long."""

from __future__ import annotations

import pytest

from stack.stall import ProgressWatch, StalledError, steps


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watched(watch: ProgressWatch, clock: Clock, seconds: float) -> None:
    """Ask again and again, every second."""
    for _ in range(int(seconds)):
        clock.now += 1
        watch.require_progress("waiting for b")


def test_nothing_that_moves_may_take_an_hour(clock: Clock) -> None:
    watch = ProgressWatch(60, {"the clock": lambda: clock.now // 50}, clock)
    watched(watch, clock, 3600)


def test_what_stands_still_fails_with_what_was_awaited_and_what_moved_last(clock: Clock) -> None:
    signals = {"a": lambda: min(clock.now // 10, 3), "b": lambda: "always the same"}
    watch = ProgressWatch(60, signals, clock)
    with pytest.raises(StalledError, match=r"^waiting for b: no progress for 6. s; the last that moved was a$"):
        watched(watch, clock, 3600)
    assert 90 < clock.now < 95


def test_what_never_moves_says_so(clock: Clock) -> None:
    with pytest.raises(StalledError, match="nothing moved at all"):
        watched(ProgressWatch(60, {"a": lambda: 1}, clock), clock, 3600)


def test_what_cannot_be_told_is_no_movement(clock: Clock) -> None:
    flickering = iter([1, None] * 9999)
    with pytest.raises(StalledError):
        watched(ProgressWatch(60, {"a": lambda: next(flickering)}, clock), clock, 3600)


def test_a_value_that_the_caller_has_seen_counts(clock: Clock) -> None:
    watch = ProgressWatch(60, {}, clock)
    for state in range(100):
        clock.now += 50
        watch.note("the state", state)
        watch.require_progress("waiting")
    clock.now += 61
    watch.note("the state", 99)
    with pytest.raises(StalledError, match="the last that moved was the state"):
        watch.require_progress("waiting")


def test_somebody_who_thinks_is_excused(clock: Clock) -> None:
    watch = ProgressWatch(60, {}, clock)
    for _ in range(100):
        clock.now += 59
        watch.excuse()
        watch.require_progress("waiting for a person")
    clock.now += 61
    with pytest.raises(StalledError):
        watch.require_progress("waiting for a person")


def test_signals_are_not_read_at_every_look(clock: Clock) -> None:
    read: list[float] = []
    watch = ProgressWatch(300, {"costly": lambda: read.append(clock.now) or clock.now}, clock)
    watched(watch, clock, 100)
    assert len(read) == 10


@pytest.mark.parametrize(("per_second", "stalls"), [(0.02, True), (0.2, False)])
def test_an_amount_that_grows_too_slowly_does_not_move(clock: Clock, per_second: float, stalls: bool) -> None:
    watch = ProgressWatch(100, {"cpu": steps(lambda: clock.now * per_second, 5)}, clock)
    if stalls:
        with pytest.raises(StalledError):
            watched(watch, clock, 1000)
    else:
        watched(watch, clock, 1000)


def test_steps_of_nothing_known_are_not_known() -> None:
    assert steps(lambda: None, 5)() is None
