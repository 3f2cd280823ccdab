"""An envelope lands as Debezium made it, with times that all readers understand and the hour that it belongs to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.capture.envelopes import EnvelopeError, parse

ROW = {
    "ad_id": "a",
    "price": 12.0,
    "created_at": "2026-01-01T00:00:00.123456Z",
    "updated_at": "2026-03-01T05:10:00.000001Z",
    "colour": None,
}
COMMITTED = 1_795_444_204_812_105
ZONED = {"created_at", "updated_at"}


def delivered(op: str, row: dict[str, Any] | None, **source: Any) -> str:
    described = {"table": "ads", "lsn": 26381784, "snapshot": "false", "ts_us": COMMITTED, "name": "log", **source}
    images = {"before": row if op == "d" else None, "after": None if op == "d" else row}
    return json.dumps(
        {**images, "source": described, "transaction": None, "op": op, "ts_ms": 1, "ts_us": 1, "ts_ns": 1}
    )


def test_a_change_belongs_to_the_hour_of_its_commit() -> None:
    change = parse(delivered("u", ROW), ZONED, {})
    assert change.change_us == change.commit_us == COMMITTED
    assert change.hour == datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.mark.parametrize("op", ["u", "d"])
def test_or_to_the_hour_that_its_row_names_also_when_the_row_goes(op: str) -> None:
    change = parse(delivered(op, ROW), ZONED, {"ads": "updated_at"})
    assert change.hour == datetime(2026, 3, 1, 5, tzinfo=UTC)
    landed = json.loads(change.line)
    assert landed["change_us"] == 1_772_341_800_000_001
    assert landed["ts_ms"] == 1_772_341_800_000


@pytest.mark.parametrize(("op", "row"), [("u", ROW | {"updated_at": None}), ("t", None)], ids=["null", "truncation"])
def test_a_change_that_names_no_time_has_that_of_its_commit(op: str, row: dict[str, Any] | None) -> None:
    assert parse(delivered(op, row), ZONED, {"ads": "updated_at"}).change_us == COMMITTED


def test_zoned_times_become_microseconds_and_nothing_is_left_out() -> None:
    landed = json.loads(parse(delivered("u", ROW), ZONED, {}).line)
    assert landed["after"] == ROW | {"created_at": 1_767_225_600_123_456, "updated_at": 1_772_341_800_000_001}
    assert landed["before"] is None
    assert landed["source"]["lsn"] == 26381784


def test_a_time_beyond_all_calendars_stays_as_it_is_spelled() -> None:
    landed = json.loads(parse(delivered("u", ROW | {"created_at": "infinity"}), ZONED, {}).line)
    assert landed["after"]["created_at"] == "infinity"


def test_the_same_change_delivered_later_is_the_same_line() -> None:
    first = delivered("u", ROW)
    again = json.dumps({**json.loads(first), "ts_ms": 2, "ts_us": 2, "ts_ns": 2})
    assert parse(first, ZONED, {}).line == parse(again, ZONED, {}).line


def test_a_value_that_the_log_left_out_is_refused_by_name() -> None:
    row = ROW | {"colour": "__debezium_unavailable_value"}
    with pytest.raises(EnvelopeError, match=r"ads\.colour: .* REPLICA IDENTITY FULL"):
        parse(delivered("u", row), ZONED, {})


@pytest.mark.parametrize("value", [True, "infinity", 1.5])
def test_a_row_that_names_its_time_wrongly_is_refused_by_name(value: Any) -> None:
    with pytest.raises(EnvelopeError, match=r"ads\.updated_at: .* is not a time"):
        parse(delivered("u", ROW | {"updated_at": value}), {"created_at"}, {"ads": "updated_at"})


def test_a_row_without_the_column_of_its_time_is_refused_by_name() -> None:
    with pytest.raises(EnvelopeError, match=r"ads\.changed_at: .* is not there"):
        parse(delivered("u", ROW), ZONED, {"ads": "changed_at"})
