"""Where things lie in the lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.timestamps import DAY, floor_day, floor_hour

LATE = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)


def test_a_moment_belongs_to_the_utc_hour_that_holds_it() -> None:
    assert floor_hour(LATE) == datetime(2026, 3, 1, 23, tzinfo=UTC)
    assert lake.hour_partition(LATE) == "dt=2026-03-01/hr=23"


def test_other_time_zones_name_the_same_partition() -> None:
    in_india = LATE.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert lake.hour_partition(in_india) == "dt=2026-03-01/hr=23"
    assert floor_hour(in_india) == floor_hour(LATE)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        floor_hour(datetime(2026, 3, 1, 23))
    with pytest.raises(ValueError, match="no time zone"):
        lake.run_key(datetime(2026, 3, 1, 23))


def test_hours_are_half_open_and_cross_midnight() -> None:
    start = datetime(2026, 3, 1, 22, tzinfo=UTC)
    assert [hour.hour for hour in timestamps.hours(start, start + timedelta(hours=4))] == [22, 23, 0, 1]
    assert list(timestamps.hours(start, start)) == []


def test_days_are_all_that_an_interval_touches() -> None:
    assert floor_day(LATE) == datetime(2026, 3, 1, tzinfo=UTC)
    assert [day.day for day in timestamps.days(LATE, LATE + timedelta(days=1))] == [1, 2]
    assert [day.day for day in timestamps.days(floor_day(LATE), floor_day(LATE) + DAY)] == [1]


def test_every_prefix_of_an_hour_ends_in_a_slash_and_its_manifest_lies_in_it() -> None:
    prefixes = [
        lake.RAW_EVENTS.hour(LATE),
        lake.RAW_REJECTED.hour(LATE),
        lake.RAW_CDC("ads").hour(LATE),
        lake.FEATURES("ad_engagement").revision(LATE, 0),
        lake.VALIDATION.hour(LATE),
    ]
    assert all(prefix.endswith("/") and "dt=2026-03-01/hr=23/" in prefix for prefix in prefixes)
    assert lake.RAW_EVENTS.manifest(LATE) == "raw/events/dt=2026-03-01/hr=23/_MANIFEST.json"
    assert lake.PUSHES("redis").manifest(LATE) == "online/redis/dt=2026-03-01/hr=23/_MANIFEST.json"
    assert lake.RAW_BILLING.day(LATE) == "raw/billing/dt=2026-03-01/"
    assert lake.RAW_BILLING.manifest_revision(LATE, 2) == "raw/billing/dt=2026-03-01/_MANIFEST.rev=002.json"
    assert lake.BILLING_VERDICT.key(LATE) == "verdicts/billing/dt=2026-03-01/verdict.json"


def test_revisions_of_a_partition_sort_as_text() -> None:
    keys = [lake.FEATURES("g").manifest(LATE, revision) for revision in (0, 2, 10, 100)]
    assert keys == sorted(keys)
    assert keys[0] == "features/g/dt=2026-03-01/hr=23/rev=000/_MANIFEST.json"
    assert all(key.startswith(lake.FEATURES("g").hour(LATE)) for key in keys)
    assert lake.FEATURES("g").hour(LATE).removeprefix(lake.FEATURES("g").day(LATE)) == "hr=23/"


def test_run_keys_sort_by_time_and_are_legal_aws_names() -> None:
    keys = [lake.run_key(LATE + timedelta(hours=step)) for step in range(5)]
    assert keys == sorted(set(keys))
    assert all(key.isalnum() for key in keys)


def test_a_key_becomes_an_absolute_uri() -> None:
    assert lake.uri("bucket", lake.MODEL_PACKAGE.of("d1")) == "s3://bucket/models/d1/model.tar.gz"
