"""One file of a user's own logs, in whichever of the three formats it comes, as raw columns.

Nothing is interpreted here. CSV columns are text; JSON lines keep numbers as numbers where a whole column agrees and
fall back to text where it does not; Parquet columns are as they are. Every error names file, row and reason: rows are
counted from 1 and leave out the header and blank lines.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: Final[tuple[Format, ...]] = ("parquet", "csv", "jsonl")
_BLOCK: Final = 1 << 24
_LINES: Final = 100_000


class OwnLogsError(ValueError):
    """The logs cannot be imported; the message names file, row or column, and reason, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class LogFile:
    """Raw columns of one file, all of length ``rows``."""

    path: Path
    format: Format
    columns: dict[str, pa.ChunkedArray]
    rows: int

    @property
    def name(self) -> str:
        """The file's name, as messages spell it."""
        return self.path.name

    def error(self, reason: str, *, column: str = "", row: int | None = None) -> OwnLogsError:
        """An error of this file; ``row`` is the 0-based index of the row to name."""
        where = [self.name]
        if row is not None:
            line = "" if self.format == "parquet" else f" (line {_line_of(self.path, self.format, row)})"
            where.append(f"row {row + 1}{line}")
        if column:
            where.append(f"column {column}")
        return OwnLogsError(f"{': '.join(where)}: {reason}")

    def require(self, names: tuple[str, ...]) -> None:
        """Refuse a file that lacks a column."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            found = ", ".join(self.columns)
            plural = "s" if len(missing) > 1 else ""
            raise self.error(f"missing required column{plural} {', '.join(missing)}; it has {found}")


def find(directory: Path, stem: str) -> Path | None:
    """The one file called ``stem`` in any format; None when there is none, an error when there are several."""
    found = [path for suffix in FORMATS if (path := directory / f"{stem}.{suffix}").exists()]
    if len(found) > 1:
        raise OwnLogsError(f"{directory}: found {' and '.join(path.name for path in found)}; keep only one of them")
    return found[0] if found else None


def read(path: Path) -> LogFile:
    """Read one file whole. Raises :class:`OwnLogsError` when it is empty, not UTF-8 or not of its format."""
    try:
        if not path.is_file():
            raise OwnLogsError(f"{path.name}: is not a file")
        if path.stat().st_size == 0:
            raise OwnLogsError(f"{path.name}: is empty")
        match path.suffix:
            case ".parquet":
                return _read_parquet(path)
            case ".csv":
                _require_utf8(path)
                return _read_csv(path)
            case _:
                _require_utf8(path)
                return _read_jsonl(path)
    except OSError as error:
        raise OwnLogsError(f"{path.name}: cannot be read: {error.strerror or error}") from error


def _require_utf8(path: Path) -> None:
    offset, line, blank = 0, 1, True
    with path.open("rb") as handle:
        while lines := handle.readlines(_BLOCK):
            block = b"".join(lines)
            try:
                blank = blank and not block.decode("utf-8").strip("\ufeff \t\r\n")
            except UnicodeDecodeError as error:
                line += block.count(b"\n", 0, error.start)
                row = f"row {line - 1} (line {line})" if path.suffix == ".csv" and line > 1 else f"line {line}"
                byte = f"byte 0x{block[error.start]:02x} at offset {offset + error.start}"
                raise OwnLogsError(f"{path.name}: {row}: is not UTF-8: {byte}") from error
            offset += len(block)
            line += len(lines)
    if blank:
        raise OwnLogsError(f"{path.name}: is empty")


def _finish(path: Path, file_format: Format, names: list[str], columns: list[pa.ChunkedArray], rows: int) -> LogFile:
    _require_unique(path, names)
    if rows == 0:
        raise OwnLogsError(f"{path.name}: has no rows")
    return LogFile(path, file_format, dict(zip(names, columns, strict=True)), rows)


def _require_unique(path: Path, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise OwnLogsError(f"{path.name}: column {name}: appears more than once")


def _read_parquet(path: Path) -> LogFile:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise OwnLogsError(f"{path.name}: is not a readable Parquet file: {error}") from error
    return _finish(path, "parquet", table.column_names, table.columns, table.num_rows)


def _read_csv(path: Path) -> LogFile:
    names = [name.strip() for name in next(_csv_records(path))[1]]
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise OwnLogsError(f"{path.name}: header: columns are separated by {other!r}; expected commas")
    if "" in names:
        raise OwnLogsError(f"{path.name}: header: column {names.index('') + 1} has no name")
    _require_unique(path, names)
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=names),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        ).slice(1)
    except pa.ArrowInvalid as error:
        raise _csv_error(path, names, error) from error
    return _finish(path, "csv", names, table.columns, table.num_rows)


def _csv_error(path: Path, names: list[str], error: pa.ArrowInvalid) -> OwnLogsError:
    for row, (line, fields) in enumerate(_csv_records(path)):
        if len(fields) != len(names):
            return OwnLogsError(
                f"{path.name}: row {row} (line {line}): has {len(fields)} fields, the header has {len(names)}"
            )
    return OwnLogsError(f"{path.name}: is not readable CSV: {error}")


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every record that is not blank, header first."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise OwnLogsError(f"{path.name}: line {reader.line_num}: is not readable CSV: {error}") from error


def _read_jsonl(path: Path) -> LogFile:
    chunks: list[dict[str, pa.Array]] = []
    sizes: list[int] = []
    records = _json_records(path)
    while block := list(itertools.islice(records, _LINES)):
        names = list(dict.fromkeys(name for record in block for name in record))
        chunks.append({name: _json_array([record.get(name) for record in block]) for name in names})
        sizes.append(len(block))
    names = list(dict.fromkeys(name for chunk in chunks for name in chunk))
    columns = [
        _joined([chunk.get(name, pa.nulls(size)) for chunk, size in zip(chunks, sizes, strict=True)]) for name in names
    ]
    return _finish(path, "jsonl", names, columns, sum(sizes))


def _json_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig") as handle:
        yield from ((number, line) for number, line in enumerate(handle, 1) if line.strip())


def _json_records(path: Path) -> Iterator[dict[str, Any]]:
    for row, (number, line) in enumerate(_json_lines(path)):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise OwnLogsError(f"{path.name}: row {row + 1} (line {number}): is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise OwnLogsError(f"{path.name}: row {row + 1} (line {number}): is not a JSON object")
        yield record


def _json_array(values: list[Any]) -> pa.Array:
    """Numbers as doubles, whole numbers as int64, booleans as booleans; anything else, or a mixture, as text."""
    kinds = {type(value) for value in values if value is not None}
    try:
        if kinds == {bool}:
            return pa.array(values, pa.bool_())
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds and kinds <= {int, float}:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
    except (pa.ArrowInvalid, OverflowError):
        pass
    return pa.array([_json_text(value) for value in values], pa.string()) if kinds else pa.nulls(len(values))


def _json_text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _joined(arrays: list[pa.Array]) -> pa.ChunkedArray:
    types = {array.type for array in arrays if not pa.types.is_null(array.type)}
    if len(types) > 1:
        types = {pa.float64()} if types == {pa.int64(), pa.float64()} else {pa.string()}
    kind = types.pop() if types else pa.null()
    return pa.chunked_array([array.cast(kind) for array in arrays], kind)


def _line_of(path: Path, file_format: Format, row: int) -> int:
    if file_format == "csv":
        return next(itertools.islice(_csv_records(path), row + 1, None))[0]
    return next(itertools.islice(_json_lines(path), row, None))[0]
