"""One clock: hours and days in UTC, and microseconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
MICROSECOND: Final = timedelta(microseconds=1)


def as_utc(moment: datetime) -> datetime:
    """The same instant in UTC; a naive datetime is refused, because an hour guessed is a partition lost."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; the lake is partitioned by UTC hours")
    return moment.astimezone(UTC)


def floor_hour(moment: datetime) -> datetime:
    """The start of the UTC hour that holds ``moment``."""
    return as_utc(moment).replace(minute=0, second=0, microsecond=0)


def hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """Starts of the whole hours in ``[start, end)``."""
    hour = floor_hour(start)
    while hour < as_utc(end):
        yield hour
        hour += HOUR


def floor_day(moment: datetime) -> datetime:
    """The start of the UTC day that holds ``moment``."""
    return floor_hour(moment).replace(hour=0)


def days(start: datetime, end: datetime) -> Iterator[datetime]:
    """Starts of the days that ``[start, end)`` touches."""
    day = floor_day(start)
    while day < as_utc(end):
        yield day
        day += DAY


def micros(moment: datetime) -> int:
    """Microseconds from the epoch to ``moment``, exactly; a naive datetime is refused."""
    return (as_utc(moment) - EPOCH) // MICROSECOND


def from_micros(since_epoch: int) -> datetime:
    """The moment in UTC that lies ``since_epoch`` microseconds after the epoch.

    :raises OverflowError: no year has it.
    """
    return EPOCH + since_epoch * MICROSECOND
