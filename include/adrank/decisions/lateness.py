"""Which feature partitions late events have outdated, and from when on what replaces them may be seen.

A late event makes a new revision of its raw hour. A feature partition keeps a digest of the revisions of the raw hours
that late events could still reach when its own hour ended (``raw_state``): while the log still has that state,
computing it again gives the same content, however long its windows are.

A row may be seen the group's lag after everything that it was computed from was there: the hour had ended, and each of
these raw hours that was revised had its revision. So a training row never sees an event before the log held it, even
where an hour is first computed long after its late events came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR

#: How far before the end of an hour a raw hour lies at most that can still be revised: no less than the longest
#: ``events.allowed_lateness`` and the hours until a revision is published.
REVISION_HORIZON: Final = timedelta(hours=96)


def horizon_start(hour: datetime) -> datetime:
    """The first raw hour that can still be revised when ``hour`` ends."""
    return hour + HOUR - REVISION_HORIZON


@dataclass(frozen=True)
class RawLog:
    """The closed raw hours that are there, by hour."""

    hours: Mapping[datetime, RawManifest]

    @classmethod
    def of(cls, manifests: Iterable[RawManifest]) -> Self:
        """The log that these manifests make."""
        return cls({manifest.hour: manifest for manifest in manifests})

    def state(self, group: FeatureGroup, hour: datetime) -> str:
        """Digest of (raw hour, revision) over the hour's reach; over nothing for a group that reads no events."""
        digest = hashlib.sha256()
        for raw in self._reached(group, hour):
            digest.update(f"{lake.hour_partition(raw.hour)} {raw.revision}\n".encode())
        return digest.hexdigest()

    def whole_at(self, group: FeatureGroup, hour: datetime) -> datetime:
        """Event time at which the hour had ended and every revised raw hour of its reach had its revision."""
        revised = (raw.revision_time for raw in self._reached(group, hour) if raw.revision > 0)
        return max((hour + HOUR, *revised))

    def still_matches(self, group: FeatureGroup, partition: FeatureManifest) -> bool:
        """Whether the log is what the partition was computed from.

        A manifest from before states were kept was computed from a log that nobody had revised.
        """
        if not partition.raw_state:
            return all(raw.revision == 0 for raw in self._reached(group, partition.hour))
        return partition.raw_state == self.state(group, partition.hour)

    def _reached(self, group: FeatureGroup, hour: datetime) -> list[RawManifest]:
        if "events" not in group.inputs:
            return []
        found = (self.hours.get(raw) for raw in timestamps.hours(horizon_start(hour), hour + HOUR))
        return [raw for raw in found if raw is not None]


def outdated(group: FeatureGroup, newest: Iterable[FeatureManifest], log: RawLog) -> list[datetime]:
    """Hours, in order, whose newest revision was computed from another log than ``log``."""
    return sorted(partition.hour for partition in newest if not log.still_matches(group, partition))


def available_at(group: FeatureGroup, hour: datetime, log: RawLog, replaced: FeatureManifest | None) -> datetime:
    """From when on the rows may be seen: never before the revision that they replace."""
    earliest = log.whole_at(group, hour) + group.lag
    return max(earliest, replaced.available_at) if replaced else earliest
