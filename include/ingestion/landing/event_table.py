"""Raw events as Arrow tables: the exact schema of the contract, and the bytes of a raw file."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from adrank.contracts.events import EVENT_COLUMNS

_ARROW_TYPES: Final = {
    "string": pa.string(),
    "int32": pa.int32(),
    "double": pa.float64(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    "map<string, double>": pa.map_(pa.string(), pa.float64()),
}

#: Columns of few values; dictionaries of the others cost time and space.
_REPEATED: Final = ["event_type", "model_version", "experiment_id", "variant", "context.key_value.key"]

EVENT_SCHEMA: Final = pa.schema([(name, _ARROW_TYPES[type_name]) for name, type_name in EVENT_COLUMNS.items()])


class EventTableError(ValueError):
    """A table is not a table of raw events; the message names the column and the reason."""


def conform(table: pa.Table) -> pa.Table:
    """The same rows with exactly the columns, order and types of the contract."""
    missing = [name for name in EVENT_SCHEMA.names if name not in table.column_names]
    if missing:
        raise EventTableError(f"events table lacks column {', '.join(missing)}")
    unknown = [name for name in table.column_names if name not in EVENT_SCHEMA.names]
    if unknown:
        raise EventTableError(f"events table has unknown column {', '.join(unknown)}")
    columns = []
    for field in EVENT_SCHEMA:
        try:
            columns.append(table.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise EventTableError(f"events table: column {field.name}: {error}") from error
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def empty() -> pa.Table:
    """No events."""
    return EVENT_SCHEMA.empty_table()


def sort(table: pa.Table) -> pa.Table:
    """Rows by event time, then event id, then ingest time: the order in which a raw file holds them."""
    keys = [("event_time", "ascending"), ("event_id", "ascending"), ("ingest_time", "ascending")]
    return table.take(pc.sort_indices(table.select([name for name, _ in keys]), sort_keys=keys))


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file of the table: the same rows in the same order give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", use_dictionary=_REPEATED)
    return sink.getvalue()


def context_maps(names: list[str], values: list[pa.Array | pa.ChunkedArray]) -> pa.Array:
    """Zip numeric columns into ``map<string, double>``, one map per row; a null value leaves its key out."""
    if not names:
        raise ValueError("context_maps needs at least one column")
    matrix: npt.NDArray[np.float64] = np.column_stack([_floats(column) for column in values])
    present = ~np.isnan(matrix)
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    keys = pa.array(names, pa.string()).take(pa.array(np.nonzero(present)[1]))
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, pa.array(matrix[present]))


def _floats(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(pc.fill_null(flat.cast(pa.float64()), float("nan")))
