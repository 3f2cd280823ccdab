"""A bad log is refused in one line that names file, row or column, and reason; the lake stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adrank.storage.object_store import ObjectStore
from ingestion.own_logs import __main__, importer
from tests.include.ingestion.logs import click, event, events, write

AD = {"ad_id": "a0", "seller_id": "x"}
BILL = {"event_id": "i0", "billed_at": "2026-03-04T00:00:00Z", "amount": 10, "currency": "EUR"}


def row_17(**changes: object) -> list[dict[str, object]]:
    rows = events()
    rows[16] = event(16, **changes)
    return rows


def without(column: str) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != column} for row in events()]


def spoiled(directory: Path, stem: str, old: bytes, new: bytes, file_format: str = "csv") -> None:
    path = write(directory, stem, events(), file_format)
    path.write_bytes(path.read_bytes().replace(old, new, 1))


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "position is not a number": (
        lambda d: write(d, "events", row_17(position="abc")),
        "events.csv: row 17 (line 18): column position: 'abc' is not a number",
    ),
    "position is not a number in JSON lines": (
        lambda d: write(d, "events", row_17(position="abc"), "jsonl"),
        "events.jsonl: row 17 (line 17): column position: 'abc' is not a number",
    ),
    "position is not a number in Parquet": (
        lambda d: write(
            d, "events", [{**r, "position": str(r["position"])} for r in row_17(position="abc")], "parquet"
        ),
        "events.parquet: row 17: column position: 'abc' is not a number",
    ),
    "position is a fraction": (
        lambda d: write(d, "events", row_17(position=1.5)),
        "events.csv: row 17 (line 18): column position: 1.5 is not a whole number",
    ),
    "position is 0": (
        lambda d: write(d, "events", row_17(position=0)),
        "events.csv: row 17 (line 18): column position: 0 is less than 1",
    ),
    "position is beyond integers": (
        lambda d: write(d, "events", row_17(position=1e12)),
        "column position: 1000000000000 is too large",
    ),
    "time is not a time": (
        lambda d: write(d, "events", row_17(event_time="yesterday")),
        "events.csv: row 17 (line 18): column event_time: 'yesterday' is not an ISO 8601 time such as 2026-05-01",
    ),
    "time is an impossible time": (
        lambda d: write(d, "events", row_17(event_time="2026-13-01T00:00:00Z")),
        "events.csv: row 17 (line 18): column event_time: '2026-13-01T00:00:00Z' is not a time: month must be in 1..12",
    ),
    "time is an epoch number": (
        lambda d: write(d, "events", [{**r, "event_time": 1_772_359_200} for r in events()], "parquet"),
        "events.parquet: column event_time: holds int64; expected ISO 8601 times such as 2026-05-01T12:00:00Z",
    ),
    "one time is far away": (
        lambda d: write(d, "events", row_17(event_time="1970-01-01T00:00:00Z")),
        "events.csv: row 17 (line 18): column event_time: events span 1970-01-01T00:00:00+00:00 to",
    ),
    "event type is unknown": (
        lambda d: write(d, "events", row_17(event_type="view")),
        "events.csv: row 17 (line 18): column event_type: 'view' is not one of impression, click, contact, sale",
    ),
    "required value is missing": (
        lambda d: write(d, "events", row_17(user_id="")),
        "events.csv: row 17 (line 18): column user_id: is missing a required value",
    ),
    "revenue is negative": (
        lambda d: write(d, "events", [*events(), click(3, revenue=-1)]),
        "events.csv: row 22 (line 23): column revenue: -1 is less than 0",
    ),
    "revenue is infinite": (
        lambda d: write(d, "events", [*events(), click(3, revenue=float("inf"))], "jsonl"),
        "events.jsonl: row 22 (line 22): column revenue: inf is not a finite number",
    ),
    "required column is missing": (
        lambda d: write(d, "events", without("search_id")),
        "events.csv: missing required column search_id; it has event_id, event_type",
    ),
    "file is empty": (lambda d: (d / "events.csv").write_bytes(b""), "events.csv: is empty"),
    "Parquet file is empty": (lambda d: (d / "events.parquet").write_bytes(b""), "events.parquet: is empty"),
    "file is blank": (lambda d: (d / "events.csv").write_bytes(b"\n \n"), "events.csv: is empty"),
    "file has a header only": (
        lambda d: (d / "events.csv").write_text(",".join(event(0)) + "\n"),
        "events.csv: has no rows",
    ),
    "file is not UTF-8": (
        lambda d: spoiled(d, "events", b"u1", b"\xff1"),
        "events.csv: row 2 (line 3): is not UTF-8: byte 0xff at offset 145",
    ),
    "JSON lines file is not UTF-8": (
        lambda d: spoiled(d, "events", b"u1", b"\xe91", "jsonl"),
        "events.jsonl: line 2: is not UTF-8: byte 0xe9 at offset",
    ),
    "Parquet file is not Parquet": (
        lambda d: (d / "events.parquet").write_bytes(b"nonsense" * 10),
        "events.parquet: is not a readable Parquet file: ",
    ),
    "no events file": (lambda d: write(d, "ads", [AD]), "holds no events file; expected events.parquet, events.csv or"),
    "two events files": (
        lambda d: (write(d, "events", events()), write(d, "events", events(), "parquet")),
        "found events.parquet and events.csv; keep only one of them",
    ),
    "events file is a directory": (lambda d: (d / "events.csv").mkdir(), "events.csv: is not a file"),
    "row is short": (
        lambda d: spoiled(d, "events", b",u1,", b","),
        "events.csv: row 2 (line 3): has 6 fields, the header has 7",
    ),
    "columns are separated by semicolons": (
        lambda d: (d / "events.csv").write_text(";".join(event(0)) + "\n"),
        "events.csv: header: columns are separated by ';'; expected commas",
    ),
    "column comes twice": (
        lambda d: spoiled(d, "events", b"ad_id", b"user_id"),
        "events.csv: column user_id: appears more than once",
    ),
    "line is not JSON": (
        lambda d: spoiled(d, "events", b'"u1"', b'"u1', "jsonl"),
        "events.jsonl: row 2 (line 2): is not JSON: ",
    ),
    "line is not an object": (
        lambda d: (d / "events.jsonl").write_text("[]\n"),
        "events.jsonl: row 1 (line 1): is not a JSON object",
    ),
    "context is not numbers": (
        lambda d: write(d, "events", row_17(context={"device": "phone"}), "jsonl"),
        "events.jsonl: row 17 (line 17): column context: device is 'phone'; expected a finite number",
    ),
    "context is not JSON": (
        lambda d: write(d, "events", row_17(context="{")),
        "events.csv: row 17 (line 18): column context: is not JSON: ",
    ),
    "no impression": (lambda d: write(d, "events", [click(0)]), "events.csv: column event_type: holds no impression"),
    "price of an ad is not a number": (
        lambda d: (write(d, "events", events()), write(d, "ads", [AD, {**AD, "price": "cheap"}])),
        "ads.csv: row 2 (line 3): column price: 'cheap' is not a number",
    ),
    "ad has no seller": (
        lambda d: (write(d, "events", events()), write(d, "ads", [{"ad_id": "a0"}])),
        "ads.csv: missing required column seller_id",
    ),
    "image quality is out of range": (
        lambda d: (write(d, "events", events()), write(d, "ads", [{**AD, "image_quality_score": 55}])),
        "ads.csv: row 1 (line 2): column image_quality_score: 55 is more than 1",
    ),
    "seller's time is not a time": (
        lambda d: (write(d, "events", events()), write(d, "sellers", [{"seller_id": "x", "created_at": "old"}])),
        "sellers.csv: row 1 (line 2): column created_at: 'old' is not an ISO 8601 time",
    ),
    "billing has two currencies": (
        lambda d: (write(d, "events", events()), write(d, "billing", [BILL, {**BILL, "currency": "JPY"}])),
        "billing.csv: row 2 (line 3): column currency: 'JPY' is not one of EUR",
    ),
    "more was refunded than billed": (
        lambda d: (write(d, "events", events()), write(d, "billing", [{**BILL, "amount": -3}])),
        "billing.csv: row 1 (line 2): column amount: amounts billed for event i0 add up to -3; expected 0 or more",
    ),
    "more was billed than money there is": (
        lambda d: (write(d, "events", events()), write(d, "billing", [{**BILL, "amount": 1e13}])),
        "billing.csv: row 1 (line 2): column amount: 10000000000000 is more than 1e+12",
    ),
    "billed in another century": (
        lambda d: (write(d, "events", events()), write(d, "billing", [{**BILL, "billed_at": "2126-03-01"}])),
        "billing.csv: row 1 (line 2): column billed_at: 2126-03-01T00:00:00+00:00 is more than ten years from",
    ),
}


@pytest.mark.parametrize(("broken", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_broken_log_is_refused_with_a_message_and_nothing_lands(
    tmp_path: Path,
    store: ObjectStore,
    capsys: pytest.CaptureFixture[str],
    broken: Callable[[Path], object],
    message: str,
) -> None:
    store.put("raw/events/earlier", b"something")
    broken(tmp_path)
    assert __main__.main(["--data", str(tmp_path), "--bucket", store.bucket]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(store.keys()) == ["raw/events/earlier"]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--data", str(tmp_path / "absent"), "--bucket", "b"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"{tmp_path / 'absent'}: is not a directory"


def test_lines_are_counted_through_quoted_line_breaks_and_blank_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "events", [event(0, note="two\nlines"), event(1, note=""), event(2, position="x")])
    path.write_text(path.read_text().replace("i1,", "\ni1,", 1))
    assert __main__.main(["--data", str(tmp_path), "--bucket", "b"]) == 1
    assert "events.csv: row 3 (line 6): column position: 'x'" in capsys.readouterr().err


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = write(tmp_path, "events", events())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert importer.read(tmp_path).events.accepted.num_rows == 21
