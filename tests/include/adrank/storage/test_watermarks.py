"""What the manifests of the raw log say of its beginning and its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import DAY, HOUR
from adrank.storage import watermarks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Log:
    """Raw hours in memory; an hour that is not closed has a file and no manifest."""

    def __init__(self, *closed: datetime, open_hours: tuple[datetime, ...] = ()) -> None:
        self._objects = {lake.RAW_EVENTS.hour(hour) + "part-0.parquet": b"" for hour in (*closed, *open_hours)}
        self._objects["raw/events/_temporary/part"] = b""
        for hour in closed:
            manifest = RawManifest(hour=hour, revision_time=hour, watermark=hour + timedelta(minutes=70), rows=0)
            self._objects[lake.RAW_EVENTS.manifest(hour)] = manifest.model_dump_json().encode()
        self.read: list[str] = []

    def folders(self, prefix: str) -> list[str]:
        below = (key.removeprefix(prefix) for key in self._objects if key.startswith(prefix))
        return sorted({f"{prefix}{key.split('/')[0]}/" for key in below if "/" in key})

    def find(self, key: str) -> bytes | None:
        self.read.append(key)
        return self._objects.get(key)


def test_a_log_without_a_closed_hour_reaches_nowhere() -> None:
    log = Log(open_hours=(NOON,))
    assert watermarks.first_closed_hour(log) is None
    assert watermarks.raw_watermark(log) is None
    assert watermarks.last_closed_hour(log, since=NOON - DAY, before=NOON + DAY) is None


def test_first_and_last_are_closed_hours_however_far_apart() -> None:
    log = Log(NOON, NOON + 9 * DAY, NOON + HOUR, open_hours=(NOON - HOUR, NOON + 10 * DAY))
    assert watermarks.first_closed_hour(log) == NOON
    assert watermarks.raw_watermark(log) == NOON + 9 * DAY + timedelta(minutes=70)


def test_the_last_before_a_moment_is_looked_for_within_bounds_only() -> None:
    log = Log(NOON, NOON + 2 * HOUR, NOON + DAY)
    assert watermarks.last_closed_hour(log, since=NOON, before=NOON + DAY) == NOON + 2 * HOUR
    assert watermarks.last_closed_hour(log, since=NOON, before=NOON + 2 * HOUR) == NOON
    assert watermarks.last_closed_hour(log, since=NOON + HOUR, before=NOON) is None
    log.read.clear()
    assert watermarks.last_closed_hour(log, since=NOON + DAY, before=NOON + DAY) is None
    assert log.read == []
