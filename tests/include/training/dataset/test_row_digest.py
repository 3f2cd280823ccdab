"""A training set's digest changes with every value and with nothing else."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from training.dataset.row_digest import RowDigest

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("seller", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("clicks", pa.int32()),
        ("rate", pa.float32()),
    ]
)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": "ab", "seller": None, "at": NOON, "clicks": 1, "rate": 0.5},
    {"id": "c", "seller": "s", "at": NOON, "clicks": None, "rate": math.nan},
    {"id": "", "seller": "", "at": None, "clicks": 0, "rate": None},
]


def digest(rows: list[dict[str, Any]], batches: int = 1, schema: pa.Schema = SCHEMA) -> str:
    table = pa.Table.from_pylist(rows, schema=schema)
    found = RowDigest(schema)
    for batch in table.to_batches(max_chunksize=-(-len(rows) // batches)):
        found.update(batch)
    return found.hexdigest()


def test_batches_do_not_matter() -> None:
    assert digest(ROWS, 1) == digest(ROWS, 2) == digest(ROWS, 3)


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "id", "a"),
        (0, "seller", ""),
        (1, "seller", "t"),
        (1, "at", NOON.replace(microsecond=1)),
        (1, "clicks", 0),
        (2, "clicks", None),
        (0, "rate", 0.25),
        (1, "rate", None),
        (2, "rate", 0.0),
    ],
)
def test_every_value_counts_and_missing_is_a_value_of_its_own(row: int, column: str, value: Any) -> None:
    changed = [dict(each) for each in ROWS]
    changed[row][column] = value
    assert digest(changed) != digest(ROWS)


def test_where_one_string_ends_and_the_next_begins_counts() -> None:
    changed = [dict(each) for each in ROWS]
    changed[0]["id"], changed[1]["id"] = "a", "bc"
    assert digest(changed) != digest(ROWS)


def test_the_order_of_rows_and_the_names_of_columns_count() -> None:
    assert digest(ROWS[::-1]) != digest(ROWS)
    renamed = pa.schema([field.with_name("price" if field.name == "rate" else field.name) for field in SCHEMA])
    assert digest([row | {"price": row["rate"]} for row in ROWS], schema=renamed) != digest(ROWS)


def test_every_nan_is_the_same_value() -> None:
    other = struct.unpack("<f", struct.pack("<I", 0x7FC00123))[0]
    schema = pa.schema([("rate", pa.float32())])
    found = []
    for value in (math.nan, other):
        one = RowDigest(schema)
        one.update(pa.record_batch([pa.array(np.array([value], dtype=np.float32))], schema=schema))
        found.append(one.hexdigest())
    assert found[0] == found[1]
