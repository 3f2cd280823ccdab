"""A digest of rows in their order, taken while they are written: of their values, not of the file that holds them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa


class RowDigest:
    """SHA-256 over names, types and values of columns, the same however the rows come in batches.

    Every NaN is the same value. Columns are strings, numbers, booleans or times.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._names = [f"{field.name}:{field.type}" for field in schema]
        # What makes up a column: which values are there; the values, or how long each string is; the strings.
        self._streams = [[hashlib.sha256() for _ in range(3)] for _ in schema]

    def update(self, batch: pa.RecordBatch) -> None:
        """Add rows; the batch has the schema's columns."""
        for array, streams in zip(batch.columns, self._streams, strict=True):
            valid = np.asarray(array.is_valid()).tobytes()
            parts = _text(array) if pa.types.is_string(array.type) else (_numbers(array).tobytes(), b"")
            for stream, part in zip(streams, (valid, *parts), strict=True):
                stream.update(part)

    def hexdigest(self) -> str:
        """Of all rows so far."""
        columns = [
            f"{name} {' '.join(stream.hexdigest() for stream in streams)}"
            for name, streams in zip(self._names, self._streams, strict=True)
        ]
        return hashlib.sha256("\n".join(columns).encode()).hexdigest()


def _text(array: pa.StringArray) -> tuple[bytes, bytes]:
    """(lengths, content) of a column of strings."""
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    inside = memoryview(content)[ends[0] : ends[-1]] if content is not None and len(ends) else b""
    return np.diff(ends).astype(np.int32).tobytes(), bytes(inside)


def _numbers(array: pa.Array) -> np.ndarray[Any, Any]:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    values = np.asarray(array.fill_null(0).to_numpy(zero_copy_only=False))
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)
    return values
