"""Small own-log directories for tests: valid ones, to be broken one thing at a time."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]


def event(number: int, **changes: Any) -> Row:
    """An impression of its own search, ``number`` minutes into the log."""
    row: Row = {
        "event_id": f"i{number}",
        "event_type": "impression",
        "event_time": f"2026-03-01T{10 + number // 60:02d}:{number % 60:02d}:00Z",
        "user_id": f"u{number % 3}",
        "search_id": f"s{number}",
        "ad_id": f"a{number % 5}",
        "position": 1,
    }
    return {**row, **changes}


def click(number: int, **changes: Any) -> Row:
    """A click on the impression of that number, half a minute later."""
    later = event(number)["event_time"].replace(":00Z", ":30Z")
    return {**event(number), "event_id": f"c{number}", "event_type": "click", "event_time": later, **changes}


def events(count: int = 20) -> list[Row]:
    """``count`` impressions and a click on the first."""
    return [*(event(n) for n in range(count)), click(0)]


def write(directory: Path, stem: str, rows: list[Row], file_format: str = "csv") -> Path:
    """Write ``stem`` in a format; a value that a row lacks is missing."""
    path = directory / f"{stem}.{file_format}"
    names = list(dict.fromkeys(name for row in rows for name in row))
    if file_format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue(), encoding="utf-8")
    elif file_format == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path
