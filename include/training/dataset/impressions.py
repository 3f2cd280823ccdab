"""The raw log of a window: its events, and the impressions that are old enough to have been answered."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import duckdb

from adrank.contracts.events import REQUIRED_EVENT_COLUMNS, SLOT_KEY
from adrank.contracts.timestamps import from_micros
from adrank.runtime.sagemaker_job import JobError
from training.dataset import duckdb_sql

_log = logging.getLogger(__name__)


class ThinLogError(JobError):
    """The log holds too little to learn or to judge from."""


class Window(NamedTuple):
    """Microseconds: since the epoch, from when events are read and as of when; how long an impression may be answered.

    Fields are named after the parameters of the statements.
    """

    start_us: int
    as_of_us: int
    maturity_us: int


def read_events(connection: duckdb.DuckDBPyConnection, events: Path) -> None:
    """Create view ``raw_events`` of the Parquet files under a directory.

    :raises ThinLogError: there is no file
    :raises JobError: files cannot be read, or an event lacks a required value
    """
    files = sorted(events.rglob("*.parquet"))
    if not files:
        raise ThinLogError(f"no events files under {events}")
    columns = ", ".join([*REQUIRED_EVENT_COLUMNS, "ingest_time", "revenue", "context"])
    source = f"read_parquet({duckdb_sql.file_list(files)}, hive_partitioning = false)"
    with duckdb_sql.reading("events"):
        connection.execute(f"CREATE TEMP VIEW raw_events AS SELECT {columns} FROM {source}")  # noqa: S608
        where = " OR ".join(f"{name} IS NULL" for name in REQUIRED_EVENT_COLUMNS if name != "position")
        broken = connection.execute(
            f"SELECT event_id, search_id, ad_id FROM raw_events WHERE {where} OR NOT isfinite(revenue) "  # noqa: S608
            "OR (event_type = 'impression' AND position IS NULL) LIMIT 1"
        ).fetchall()
    if broken:
        event, search, ad = broken[0]
        raise JobError(
            f"event {event} (search {search}, ad {ad}) lacks a required value or has a revenue that is no number"
        )


def select_mature(connection: duckdb.DuckDBPyConnection, window: Window) -> int:
    """Create table ``mature_impressions`` from ``raw_events`` and return its row count.

    :raises ThinLogError: there is none
    """
    parameters = window._asdict()
    seen = duckdb_sql.create_table(connection, "impressions", duckdb_sql.statement("training/impressions"), parameters)
    query = "SELECT * FROM impressions WHERE event_us + $maturity_us <= $as_of_us"
    mature = duckdb_sql.create_table(connection, "mature_impressions", query, parameters)
    connection.execute("DROP TABLE impressions")
    _log.info("%d impressions in the window; %d are younger than the labels' maturity", seen, seen - mature)
    if not mature:
        raise ThinLogError(
            f"no mature impressions between {from_micros(window.start_us).isoformat()} and "
            f"{from_micros(window.as_of_us - window.maturity_us).isoformat()} ({seen} are too young)"
        )
    return mature


def context_keys(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Request-time features of ``mature_impressions`` by name, sorted, without the slot."""
    found = connection.execute("SELECT DISTINCT unnest(map_keys(context)) FROM mature_impressions").fetchall()
    return sorted(key for (key,) in found if key != SLOT_KEY)
