"""How far the raw log reaches: its first and last closed hour, from the manifests that are there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import floor_day


class RawLog(Protocol):
    """The lake as far as it is needed here."""

    def folders(self, prefix: str) -> list[str]:
        """The prefixes one level below ``prefix``, sorted, each with its closing slash."""
        ...

    def find(self, key: str) -> bytes | None:
        """The bytes of one object, or None when it is not there."""
        ...


def first_closed_hour(log: RawLog) -> datetime | None:
    """The first hour of the log that has a manifest; None when no hour has."""
    return next((hour for hour, _ in _closed(log)), None)


def last_closed_hour(log: RawLog, *, since: datetime, before: datetime) -> datetime | None:
    """The last hour before ``before`` that has a manifest, of the days from that of ``since`` on; None: there is none.

    Days out of these bounds are not looked into.
    """
    return next((hour for hour, _ in _closed(log, newest_first=True, since=since, before=before)), None)


def raw_watermark(log: RawLog) -> datetime | None:
    """Event time up to which the log is whole: the watermark of its last closed hour; None when no hour is closed."""
    newest = next((body for _, body in _closed(log, newest_first=True)), None)
    return None if newest is None else RawManifest.model_validate_json(newest).watermark


def _closed(
    log: RawLog, *, newest_first: bool = False, since: datetime | None = None, before: datetime | None = None
) -> Iterator[tuple[datetime, bytes]]:
    """Hours with their manifests."""
    for day in _partitions(log, lake.RAW_EVENTS.prefix, "dt=", newest_first):
        start = lake.day_of(day)
        if (since is not None and start < floor_day(since)) or (before is not None and start >= before):
            continue
        for folder in _partitions(log, day, "hr=", newest_first):
            hour = lake.hour_of(folder)
            if before is not None and hour >= before:
                continue
            manifest = log.find(folder + lake.MANIFEST)
            if manifest is not None:
                yield hour, manifest


def _partitions(log: RawLog, prefix: str, name: str, newest_first: bool) -> list[str]:
    return sorted((folder for folder in log.folders(prefix) if folder.startswith(prefix + name)), reverse=newest_first)
