"""The SQL that runs inside a job: read from ``include/sql``, executed by DuckDB on local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from adrank.runtime.sagemaker_job import JobError

_ROOT: Final = Path(__file__).parents[2] / "sql"


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory database on UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def statement(name: str, **identifiers: str) -> str:
    """The text of ``include/sql/<name>.sql``; ``{placeholders}`` are filled with identifiers and projections."""
    text = (_ROOT / f"{name}.sql").read_text(encoding="utf-8")
    for key, value in identifiers.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def empty(columns: Mapping[str, str]) -> str:
    """A query of these columns and types that gives no row."""
    return f"SELECT {', '.join(f'NULL::{kind} AS {quote_identifier(name)}' for name, kind in columns.items())} LIMIT 0"


@contextmanager
def reading(what: str, error: type[JobError] = JobError) -> Iterator[None]:
    """Raises ``error`` where DuckDB cannot read the files of ``what``."""
    try:
        yield
    except duckdb.Error as broken:
        raise error(f"{what} cannot be read: {broken}") from broken


def create_table(
    connection: duckdb.DuckDBPyConnection, table: str, query: str, parameters: Mapping[str, Any] | None = None
) -> int:
    """Materialise a query and return its row count. Only parameters that the query names are passed."""
    used = {key: value for key, value in (parameters or {}).items() if f"${key}" in query}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote_identifier(table)} AS {query}", used)
    return scalar(connection, f"SELECT count(*) FROM {quote_identifier(table)}")  # noqa: S608


def scalar(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()) -> int:
    """The whole number that a query gives; ``parameters`` are those of its question marks."""
    return int(connection.execute(query, parameters).fetchall()[0][0])


def quote_identifier(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """A quoted string literal."""
    return "'" + value.replace("'", "''") + "'"


def file_list(paths: Iterable[Path]) -> str:
    """A list literal of paths for ``read_parquet`` and friends."""
    return "[" + ", ".join(quote_text(str(path)) for path in paths) + "]"
