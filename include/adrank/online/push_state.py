"""What an online store says about its own rows, and what a push has to write because of it.

The state lies in the store beside the rows and is lost with them. It names the push that is complete and those that
began after it, and it changes only by comparing and swapping:

- A push begins by putting its own token into the state. Redis refuses every batch that comes under another token: of
  a push that was taken over, or of one whose store was emptied while it wrote.
- It ends by swapping the state that it put there for one that calls it complete. A push that dies in between stays
  named as begun; only its own retry, which writes the same rows, may still rely on what was complete before. Any other
  push writes every row.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import Field

from adrank.contracts.base import FrozenModel
from adrank.contracts.manifests import PushedHour
from adrank.contracts.timestamps import HOUR, as_utc

#: Every push writes one slice of the unchanged rows again, so that each row's as-of time stays within a day.
REFRESH_SLICES: Final = 24
_MAX_ROW_AGE: Final = timedelta(hours=REFRESH_SLICES)
#: Unchanged rows are written again when this share of their time to live has passed on the clock of the store.
_SHARE_OF_TTL: Final = 3


class SliceAge(FrozenModel):
    """When all rows of a slice were last written: the hour end they were of, and the clock time."""

    as_of: datetime
    written_at: datetime


class StoreState(FrozenModel):
    """The state of one online store's pushes."""

    token: str = Field(description="of the push that wrote this state; the only one that may write rows")
    fence: int = Field(ge=0, description="rises with every push that begins")
    instance: str = Field(default="", description="the server process that the push began with")
    complete: PushedHour | None = None
    slices: tuple[SliceAge, ...] = Field(default=(), description="of the complete push; one per slice")
    begun: tuple[PushedHour, ...] = Field(default=(), description="since the complete one, ended or not")


class PushFencedError(RuntimeError):
    """Another push began while this one wrote."""


class StateLostError(RuntimeError):
    """The store lost its state, and hence maybe rows, while a push wrote."""


@dataclass(frozen=True)
class FencingToken:
    """What entitles a process to write rows."""

    token: str
    fence: int


@dataclass(frozen=True)
class PushPlan:
    """What a push writes: rows that differ from ``base`` and those of the ``due`` slices; without a base, all rows.

    ``before`` are other pushes that may have left rows of entities that are gone now.
    """

    base: PushedHour | None
    before: tuple[PushedHour, ...]
    due: frozenset[int]


def superseded_by(state: StoreState | None, wanted: PushedHour) -> datetime | None:
    """The newest hour that was begun or completed after ``wanted``'s, if there is any: its rows would all lose."""
    later = [push.hour for push in _pushes(state) if push.hour > wanted.hour]
    return max(later, default=None)


def plan(
    state: StoreState | None, wanted: PushedHour, now: datetime, ttl: timedelta, *, full: bool = False
) -> PushPlan:
    """What has to be written so that the store holds ``wanted``.

    :param now: clock time; rows expire by the clock.
    :param ttl: the shortest time to live of the store's groups.
    """
    if full or state is None or state.complete is None or any(push != wanted for push in state.begun):
        before = tuple(push for push in _pushes(state) if push != wanted)
        return PushPlan(None, before, frozenset(range(REFRESH_SLICES)))
    due = {as_utc(wanted.hour).hour % REFRESH_SLICES}
    as_of = wanted.hour + HOUR
    for number, age in enumerate(state.slices):
        if as_of - age.as_of >= _MAX_ROW_AGE or now - age.written_at >= ttl / _SHARE_OF_TTL:
            due.add(number)
    return PushPlan(state.complete, (), frozenset(due))


def begin(state: StoreState | None, wanted: PushedHour, now: datetime, instance: str) -> StoreState:
    """The state of a store while ``wanted`` is written. The fence rises even over a state that was lost."""
    clock = int(now.timestamp())
    if state is None:
        return StoreState(token=_token(), fence=clock, instance=instance, begun=(wanted,))
    others = tuple(push for push in state.begun if push != wanted)
    changes = {
        "token": _token(),
        "fence": max(state.fence + 1, clock),
        "instance": instance,
        "begun": (*others, wanted),
    }
    return state.model_copy(update=changes)


def complete(state: StoreState, wanted: PushedHour, plan: PushPlan, now: datetime) -> StoreState:
    """The state of a store to which all that ``plan`` names was written, from ``now`` on."""
    age = SliceAge(as_of=wanted.hour + HOUR, written_at=now)
    slices = [age] * REFRESH_SLICES if plan.base is None else list(state.slices)
    for number in plan.due:
        slices[number] = age
    return state.model_copy(update={"token": _token(), "complete": wanted, "slices": tuple(slices), "begun": ()})


def _pushes(state: StoreState | None) -> Iterable[PushedHour]:
    if state is None:
        return ()
    return (*state.begun, *([state.complete] if state.complete else []))


def _token() -> str:
    return uuid.uuid4().hex
