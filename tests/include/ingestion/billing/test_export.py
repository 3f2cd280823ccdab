"""An export passes whole or is refused with file, row and reason."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from ingestion.billing.export import BillingExportError, check
from tests.include.ingestion.billing_exports import DAY, HEADER, LINES, control, export

FIRST, SECOND, THIRD = LINES


def test_a_valid_export_is_read_exactly() -> None:
    found = check(DAY, export(*LINES), control(*LINES), "EUR")
    assert [row.event_id for row in found.rows] == ["sale-1", "sale-2", "sale-1"]
    assert [row.amount for row in found.rows] == [Decimal("12.50"), Decimal("7.25"), Decimal("-2.50")]
    assert found.rows[1].billed_at.isoformat() == "2026-03-01T11:00:00+00:00"
    assert (found.control.rows, found.control.total) == (3, Decimal("17.25"))


def test_a_day_on_which_nothing_was_billed_is_valid() -> None:
    assert check(DAY, export(), control(), "EUR").rows == ()


def test_amounts_are_added_up_as_decimals_and_the_total_may_be_a_json_number() -> None:
    lines = [f"s{n},2026-03-01T10:00:00Z,0.1,EUR" for n in range(10)]
    assert len(check(DAY, export(*lines), b'{"rows": 10, "total": 1.0, "currency": "EUR"}', "EUR").rows) == 10
    with pytest.raises(BillingExportError, match=r"add up to 1\.0; control\.json says 1\.0000000000000000000001"):
        check(DAY, export(*lines), b'{"rows": 10, "total": 1.0000000000000000000001, "currency": "EUR"}', "EUR")


def test_equal_charges_at_two_moments_are_two_charges() -> None:
    again = FIRST.replace("10:00:00", "10:00:01")
    assert len(check(DAY, export(FIRST, again), control(FIRST, again), "EUR").rows) == 2


def row(**changes: str) -> str:
    fields = {"event_id": "sale-2", "billed_at": "2026-03-01T10:00:00Z", "amount": "7.25", "currency": "EUR"}
    return ",".join({**fields, **changes}.values())


BROKEN_ROWS = {
    "another currency": (row(currency="USD"), "column currency: 'USD' is not EUR"),
    "a currency in another spelling": (row(currency="eur"), "column currency: 'eur' is not EUR"),
    "an amount in words": (row(amount="ten"), "column amount: 'ten' is not a finite decimal number"),
    "not a number": (row(amount="NaN"), "column amount: 'NaN' is not a finite decimal number"),
    "an infinite amount": (row(amount="-inf"), "column amount: '-inf' is not a finite decimal number"),
    "no amount": (row(amount=""), "column amount: '' is not a finite decimal number"),
    "an underscore in an amount": (row(amount="1_000"), "'1_000' is not a finite decimal number"),
    "an exponent": (row(amount="1e3"), "'1e3' is not a finite decimal number"),
    "too fine an amount": (row(amount="1.0000001"), "'1.0000001' has more than 6 decimals"),
    "too large an amount": (row(amount="-1000000000000"), "'-1000000000000' is not below 1000000000000"),
    "no event": (row(event_id=" "), "column event_id: is empty"),
    "a line break in an event": ('"sale\n2",2026-03-01T10:00:00Z,1,EUR', r"'sale\n2' holds a control character"),
    "no time": (row(billed_at="yesterday"), "column billed_at: 'yesterday' is not an ISO 8601 time"),
    "a time without a zone": (row(billed_at="2026-03-01T10:00:00"), "has no time zone"),
    "the day after": (row(billed_at="2026-03-02T00:00:00Z"), "is not on 2026-03-01 (UTC)"),
    "the day before": (row(billed_at="2026-03-01T00:30:00+01:00"), "is not on 2026-03-01 (UTC)"),
    "a time before all times": (row(billed_at="0001-01-01T00:00:00+10:00"), "is not a time in UTC"),
    "too few fields": ("sale-2,2026-03-01T10:0", "has 2 fields; expected 4"),
    "too many fields": (row() + ",", "has 5 fields; expected 4"),
    "a blank line": ("", "has 0 fields; expected 4"),
    "the same row again": (FIRST, "repeats row 1 in every field"),
    "the same row in another spelling": (FIRST.replace("12.50", "12.5").replace("Z", "+00:00"), "repeats row 1"),
}


@pytest.mark.parametrize(("line", "reason"), BROKEN_ROWS.values(), ids=BROKEN_ROWS.keys())
def test_a_broken_row_is_named_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(BillingExportError) as refused:
        check(DAY, export(FIRST, line, THIRD), control(FIRST, FIRST, THIRD), "EUR")
    assert str(refused.value).startswith("export.csv: row 2 (line 3): ")
    assert reason in str(refused.value)
    assert (refused.value.file, refused.value.row) == ("export.csv", 2)


BROKEN_FILES = {
    "empty": (b"", "export.csv: is empty"),
    "cut off in a line": (export(FIRST, SECOND[:-20], end=""), "row 2 (line 3): has no line end: the file was cut off"),
    "cut off before a line end": (export(*LINES, end=""), "row 3 (line 4): has no line end: the file was cut off"),
    "cut off between lines": (export(FIRST, SECOND), "export.csv: has 2 rows; control.json says 3"),
    "not UTF-8": (export(FIRST) + b"caf\xe9,x,1,EUR\n", "row 2 (line 3): is not UTF-8: byte 0xe9 at offset"),
    "an open quote": (export(FIRST, '"sale-2,x,1,EUR'), "row 2 (line 3): is not readable CSV"),
    "another header": (b"event_id;billed_at\n", "header is 'event_id;billed_at'; expected 'event_id,billed_at,amount"),
    "columns in another order": (b"billed_at,event_id,amount,currency\n", "expected 'event_id,billed_at,"),
    "a byte order mark": (b"\xef\xbb\xbf" + export(*LINES), "header is '\\ufeffevent_id"),
    "not delivered": (None, "export.csv: was not delivered"),
    "other amounts": (export(FIRST, SECOND, THIRD.replace("2.50", "2.51")), "add up to 17.24; control.json says 17.25"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_FILES.values(), ids=BROKEN_FILES.keys())
def test_a_broken_file_is_refused(content: bytes | None, reason: str) -> None:
    with pytest.raises(BillingExportError) as refused:
        check(DAY, content, control(*LINES), "EUR")
    assert reason in str(refused.value)


BROKEN_CONTROLS = {
    "not delivered": (None, "was not delivered"),
    "not JSON": (b"rows: 3", "is not JSON"),
    "not UTF-8": (b"\xff", "is not JSON"),
    "not an object": (b"[]", "should be a valid dictionary"),
    "another currency": (control(*LINES, currency="USD"), "currency: 'USD' is not EUR"),
    "no currency": (json.dumps({"rows": 3, "total": "17.25"}).encode(), "currency: Field required"),
    "an unknown field": (control(*LINES, sum="1"), "sum: Extra inputs are not permitted"),
    "rows in words": (control(*LINES, rows="3"), "rows: Input should be a valid integer"),
    "a total that is no number": (control(*LINES, total="NaN"), "total: Input should be a finite number"),
    "a total that is a truth": (control(*LINES, total=True), "total: "),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_CONTROLS.values(), ids=BROKEN_CONTROLS.keys())
def test_a_broken_control_total_is_refused(content: bytes | None, reason: str) -> None:
    with pytest.raises(BillingExportError) as refused:
        check(DAY, export(*LINES), content, "EUR")
    assert str(refused.value).startswith("control.json: ")
    assert reason in str(refused.value)


def test_the_header_is_what_the_documentation_says() -> None:
    assert HEADER in (check.__globals__["__doc__"] or "")
