"""The catalogue as it was at each impression, from the change files of ads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import duckdb

from training.dataset import duckdb_sql

_log = logging.getLogger(__name__)
_COLUMNS: Final = ("ad_id", "seller_id", "category")


def join_ads(connection: duckdb.DuckDBPyConnection, ads: Path | None) -> None:
    """Create table ``joined``: ``labelled`` with the seller and the category that each ad had.

    ``ads`` is a directory that is searched for change files; without any, sellers and categories are null.

    :raises JobError: a file cannot be read
    """
    files = sorted(ads.rglob("*.jsonl")) if ads else []
    if files:
        row = ", ".join(f"{name} VARCHAR" for name in _COLUMNS)
        columns = f"{{after: 'STRUCT({row})', ts_ms: 'BIGINT', source: 'STRUCT(lsn BIGINT)'}}"
        source = f"read_ndjson({duckdb_sql.file_list(files)}, columns = {columns})"
        query = f"SELECT unnest(after), ts_ms, source.lsn FROM {source} WHERE after IS NOT NULL"  # noqa: S608
    else:
        _log.warning("no catalogue changes: every feature of a seller or a category takes its default")
        query = duckdb_sql.empty({**dict.fromkeys(_COLUMNS, "VARCHAR"), "ts_ms": "BIGINT", "lsn": "BIGINT"})
    with duckdb_sql.reading("catalogue changes"):
        duckdb_sql.create_table(connection, "ad_changes", query)
    duckdb_sql.create_table(connection, "ads", duckdb_sql.statement("training/ads"))
    rows = duckdb_sql.create_table(connection, "joined", duckdb_sql.statement("training/impression_ads"))
    connection.execute("DROP TABLE labelled")
    for name in _COLUMNS[1:]:
        unknown = duckdb_sql.scalar(connection, f"SELECT count(*) FROM joined WHERE {name} IS NULL")  # noqa: S608
        if unknown:
            _log.warning("%d of %d impressions are of ads without a known %s", unknown, rows, name)
