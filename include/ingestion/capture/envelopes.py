"""Debezium's envelopes as they land: each belongs to an hour, and says the same whenever it is delivered again.

Carried as they come: operation, both row images with every column, and the source block. Two things are made the
same for all readers: zoned timestamps become microseconds since the epoch, as Debezium gives all other times, and
``change_us`` / ``ts_ms`` are the time of the change; the time of its delivery is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from adrank.contracts.timestamps import floor_hour, from_micros, micros

_UNAVAILABLE: Final = "__debezium_unavailable_value"
_STREAMED: Final = ("false", None)


class EnvelopeError(ValueError):
    """A change that cannot be landed as history; the message names table, column and reason."""


@dataclass(frozen=True)
class Change:
    """One change of one table.

    ``change_us``: its time in microseconds since the epoch. ``commit_us``: when the database committed it.
    ``snapshot``: it is a row that was there, not something that happened; ``ends_snapshot``: the last of them.
    ``image``: the row after the change, before it for a deletion; empty for a truncation.
    """

    table: str
    op: str
    lsn: int
    change_us: int
    commit_us: int
    snapshot: bool
    ends_snapshot: bool
    image: dict[str, Any]
    line: str

    @property
    def hour(self) -> datetime:
        """Start of the hour that the change belongs to."""
        return floor_hour(from_micros(self.change_us))


def parse(value: str, zoned: Collection[str], time_columns: Mapping[str, str]) -> Change:
    """A change from Debezium's JSON.

    ``zoned``: columns with a zoned timestamp. ``time_columns``: by table, the column that says when a change happened;
    a table without one, a null in it and a truncation, which has no image, have the time of their commit.

    :raises EnvelopeError: a value is missing from the log, or a time cannot be read.
    """
    envelope = json.loads(value)
    source, op = envelope["source"], str(envelope["op"])
    table = str(source["table"])
    before, after = (_image(envelope[side], table, zoned) for side in ("before", "after"))
    image = before if op == "d" else after
    committed = int(source["ts_us"])
    column = time_columns.get(table)
    change_us = committed if column is None or image is None else _time(image, table, column, committed)
    landed = {
        "op": op,
        "ts_ms": change_us // 1000,
        "change_us": change_us,
        "before": before,
        "after": after,
        "source": source,
    }
    return Change(
        table=table,
        op=op,
        lsn=int(source["lsn"]),
        change_us=change_us,
        commit_us=committed,
        snapshot=source.get("snapshot") not in _STREAMED,
        ends_snapshot=source.get("snapshot") == "last",
        image=image or {},
        line=json.dumps(landed, separators=(",", ":"), ensure_ascii=False),
    )


def _image(row: dict[str, Any] | None, table: str, zoned: Collection[str]) -> dict[str, Any] | None:
    if row is None:
        return None
    for column, value in row.items():
        if value == _UNAVAILABLE:
            raise EnvelopeError(
                f"{table}.{column}: the log lacks an unchanged value; ALTER TABLE {table} REPLICA IDENTITY FULL, "
                "then begin with a new snapshot"
            )
        if column in zoned and value is not None:
            row[column] = _micros(value)
    return row


def _micros(text: str) -> int | str:
    """Microseconds since the epoch; PostgreSQL's infinities and years beyond 9999 stay as they are."""
    try:
        return micros(datetime.fromisoformat(text).astimezone(UTC))
    except (ValueError, OverflowError):
        return text


def _time(image: dict[str, Any], table: str, column: str, otherwise: int) -> int:
    if column not in image:
        raise EnvelopeError(f"{table}.{column}: the column that is to say when a change happened is not there")
    value = image[column]
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int):
        raise EnvelopeError(f"{table}.{column}: {value!r} is not a time")
    return value
