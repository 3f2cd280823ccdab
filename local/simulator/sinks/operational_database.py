"""The operational database of the simulated marketplace: where sellers and ads are inserted, changed and deleted.

The catalogue tells its changes as change data; here they are told to PostgreSQL, so that change data capture has
something to capture. ``updated_at`` is when a change happened in the world, which runs on its own clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extras import execute_values

from adrank.contracts.settings import Cdc
from adrank.contracts.timestamps import from_micros
from ingestion.landing.changes import CdcTable

HEARTBEAT: Final[str] = Cdc.model_fields["heartbeat_table"].default
_COLUMNS: Final[Mapping[CdcTable, tuple[str, ...]]] = {
    "ads": ("ad_id", "seller_id", "category", "price", "created_at", "image_quality_score", "updated_at", "title"),
    "sellers": ("seller_id", "created_at", "updated_at"),
}
_KEYS: Final[Mapping[CdcTable, str]] = {"ads": "ad_id", "sellers": "seller_id"}
# The log of a change holds the whole row before it: a deletion says what was deleted.
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS sellers (
    seller_id text PRIMARY KEY,
    created_at timestamptz,
    updated_at timestamptz
);
CREATE TABLE IF NOT EXISTS ads (
    ad_id text PRIMARY KEY,
    seller_id text,
    category text,
    price numeric,
    created_at timestamptz,
    image_quality_score double precision,
    updated_at timestamptz,
    title text
);
ALTER TABLE ads ADD COLUMN IF NOT EXISTS title text;
CREATE TABLE IF NOT EXISTS {HEARTBEAT} (
    id integer PRIMARY KEY,
    beat_at timestamptz NOT NULL
);
ALTER TABLE sellers REPLICA IDENTITY FULL;
ALTER TABLE ads REPLICA IDENTITY FULL;
"""


class UnknownOperationError(ValueError):
    """An envelope with an operation that is no change of a row."""


class RowMissingError(RuntimeError):
    """A row to change or delete is not there: the changes came in another order, or twice."""


def ensure_schema(cursor: Any, publication: str) -> None:
    """Tables and the publication of their changes; what is there stays."""
    cursor.execute(_SCHEMA)
    cursor.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", (publication,))
    if cursor.fetchone() is None:
        tables = sql.SQL(", ").join(sql.Identifier(name) for name in (*_COLUMNS, HEARTBEAT))
        cursor.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(publication), tables))


class OperationalDatabase:
    """A connection to the database; what it does not name is libpq's environment. Each call is one transaction."""

    def __init__(self, dsn: str) -> None:
        self._connection: Any = psycopg2.connect(dsn)

    def apply(self, table: CdcTable, envelopes: Iterable[Mapping[str, Any]]) -> int:
        """Do what change data tells of, in its order; returns how many changes.

        A row of a snapshot (``r``) is put there whatever was there. Each row's ``updated_at`` is the change's time; a
        row that is deleted gets it first, because only its last image can tell when it went.

        :raises RowMissingError: a row that changes or goes is not there; nothing was changed.
        """
        count = 0
        with self._connection, self._connection.cursor() as cursor:
            for is_snapshot, group in groupby(envelopes, key=lambda envelope: envelope["op"] == "r"):
                found = list(group)
                count += len(found)
                if is_snapshot:
                    _put(cursor, table, [_row(table, each["after"], each["ts_ms"]) for each in found])
                else:
                    for envelope in found:
                        _change(cursor, table, envelope)
        return count

    def beat(self, moment: datetime) -> None:
        """Say that everything that happened before ``moment`` is in the database."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {} (id, beat_at) VALUES (1, %s) "
                    "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
                ).format(sql.Identifier(HEARTBEAT)),
                (moment,),
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _change(cursor: Any, table: CdcTable, envelope: Mapping[str, Any]) -> None:
    op, name, key = envelope["op"], sql.Identifier(table), sql.Identifier(_KEYS[table])
    places = sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS[table]))
    if op == "c":
        values = _row(table, envelope["after"], envelope["ts_ms"])
        cursor.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(name, _names(table), places), values)
    elif op == "u":
        values = _row(table, envelope["after"], envelope["ts_ms"])
        statement = sql.SQL("UPDATE {} SET ({}) = ROW({}) WHERE {} = %s").format(name, _names(table), places, key)
        _on_one_row(cursor, statement, (*values, envelope["before"][_KEYS[table]]))
    elif op == "d":
        gone = envelope["before"][_KEYS[table]]
        stamp = sql.SQL("UPDATE {} SET updated_at = %s WHERE {} = %s").format(name, key)
        _on_one_row(cursor, stamp, (_moment(envelope["ts_ms"] * 1000), gone))
        _on_one_row(cursor, sql.SQL("DELETE FROM {} WHERE {} = %s").format(name, key), (gone,))
    else:
        raise UnknownOperationError(f"{table}: operation {op!r}")


def _put(cursor: Any, table: CdcTable, rows: list[tuple[Any, ...]]) -> None:
    replaced = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in _COLUMNS[table]
    )
    statement = sql.SQL("INSERT INTO {} ({}) VALUES %s ON CONFLICT ({}) DO UPDATE SET {}").format(
        sql.Identifier(table), _names(table), sql.Identifier(_KEYS[table]), replaced
    )
    execute_values(cursor, statement, rows, page_size=1000)


def _on_one_row(cursor: Any, statement: sql.Composable, values: tuple[Any, ...]) -> None:
    cursor.execute(statement, values)
    if cursor.rowcount != 1:
        raise RowMissingError(f"{values[-1]} is not there to be changed")


def _row(table: CdcTable, image: Mapping[str, Any], ts_ms: int) -> tuple[Any, ...]:
    times = {"created_at": _moment(image["created_at"]), "updated_at": _moment(ts_ms * 1000)}
    return tuple(times[column] if column in times else image[column] for column in _COLUMNS[table])


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _names(table: CdcTable) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, _COLUMNS[table]))
