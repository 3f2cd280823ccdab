"""Typed columns out of raw ones: text, whole numbers, numbers and times, or an error that names the first bad row.

Whole columns are converted at once; only a column that fails is looked at value by value, to name the row. Empty text
is missing; in columns of numbers and times the words ``null``, ``nan``, ``none`` and ``\\N`` are missing too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.own_logs.files import LogFile

TIME: Final = pa.timestamp("us", tz="UTC")
_NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MISSING: Final = ("", "null", "nan", "none", "\\n")
_ZONE: Final = r"(Z|[+-]\d{2}(:?\d{2})?)$"
_DATE: Final = r"^\d{4}-\d{2}-\d{2}"


def text(file: LogFile, name: str, *, required: bool = False) -> pa.ChunkedArray:
    """The column as strings; numbers that are whole are spelled without a fraction. A missing column is all null."""
    raw = _raw(file, name)
    kind = raw.type
    if pa.types.is_floating(kind):
        known_or_null = pc.if_else(pc.is_nan(raw), pa.scalar(None, kind), raw)
        raw = _cast(file, name, _whole(file, name, known_or_null), pa.int64())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise file.error("holds bytes; expected text", column=name)
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise file.error(f"holds {kind}; expected text", column=name)
    values = _cast(file, name, raw, pa.string())
    values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return _required(file, name, values) if required else values


def number(file: LogFile, name: str, *, required: bool = False) -> pa.ChunkedArray:
    """The column as finite doubles; NaN is missing."""
    raw = _raw(file, name)
    kind = raw.type
    if _is_text(kind):
        stripped = _present_text(raw)
        bad = pc.invert(pc.match_substring_regex(stripped, _NUMBER))
        _refuse(file, name, bad, raw, "is not a number")
        raw = stripped
    elif not (_is_number(kind) or pa.types.is_null(kind)):
        raise file.error(f"holds {kind}; expected numbers", column=name)
    values = _cast(file, name, raw, pa.float64())
    _refuse(file, name, pc.is_inf(values), raw, "is not a finite number")
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return _required(file, name, values) if required else values


def whole_number(file: LogFile, name: str, *, minimum: int, required: bool = False) -> pa.ChunkedArray:
    """The column as int32, each at least ``least``."""
    values = _whole(file, name, number(file, name, required=required))
    at_least(file, name, values, minimum)
    _refuse(file, name, pc.greater(values, 2**31 - 1), values, "is too large")
    return values.cast(pa.int32())


def at_least(file: LogFile, name: str, values: pa.ChunkedArray, minimum: float) -> None:
    """Refuse values under ``least``."""
    _refuse(file, name, pc.less(values, minimum), values, f"is less than {minimum:g}")


def at_most(file: LogFile, name: str, values: pa.ChunkedArray, maximum: float) -> None:
    """Refuse values over ``most``."""
    _refuse(file, name, pc.greater(values, maximum), values, f"is more than {maximum:g}")


def one_of(file: LogFile, name: str, values: pa.ChunkedArray, allowed: tuple[str, ...]) -> None:
    """Refuse values that are not among ``allowed``."""
    bad = pc.invert(pc.is_in(values, pa.array(allowed)))
    _refuse(file, name, bad, values, f"is not one of {', '.join(allowed)}")


def moment(file: LogFile, name: str, *, required: bool = False) -> pa.ChunkedArray:
    """The column as UTC timestamps in microseconds. Text is ISO 8601; a time without a zone is taken as UTC."""
    raw = _raw(file, name)
    kind = raw.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = _instants(file, name, raw)
    elif _is_text(kind):
        values = _parsed(file, name, _present_text(raw))
    elif pa.types.is_null(kind):
        values = raw.cast(TIME)
    else:
        raise file.error(f"holds {kind}; expected ISO 8601 times such as 2026-05-01T12:00:00Z", column=name)
    return _required(file, name, values) if required else values


def _raw(file: LogFile, name: str) -> pa.ChunkedArray:
    raw = file.columns.get(name)
    if raw is None:
        return pa.chunked_array([pa.nulls(file.rows)])
    return raw.cast(raw.type.value_type) if pa.types.is_dictionary(raw.type) else raw


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def _present_text(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    stripped = pc.utf8_trim_whitespace(raw.cast(pa.string()))
    missing = pc.is_in(pc.utf8_lower(stripped), pa.array(_MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), stripped)


def _whole(file: LogFile, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    _refuse(file, name, pc.not_equal(pc.floor(values), values), values, "is not a whole number")
    return values


def _cast(file: LogFile, name: str, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise file.error(str(error), column=name) from error


def _instants(file: LogFile, name: str, raw: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_date(raw.type):
            raw = raw.cast(pa.timestamp("s"))
        micros = pc.cast(raw, pa.timestamp("us", tz=raw.type.tz), safe=False)
        return micros.cast(TIME) if raw.type.tz else pc.assume_timezone(micros, "UTC").cast(TIME)
    except pa.ArrowInvalid as error:
        raise file.error(str(error), column=name) from error


def _parsed(file: LogFile, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    zoned = pc.match_substring_regex(values, r"[T ]\d{2}.*" + _ZONE)
    nothing = pa.scalar(None, pa.string())
    try:
        with_zone = pc.if_else(zoned, values, nothing).cast(TIME)
        without = pc.if_else(zoned, nothing, values).cast(pa.timestamp("us"))
        return pc.coalesce(with_zone, pc.assume_timezone(without, "UTC").cast(TIME))
    except pa.ArrowInvalid:
        shaped = pc.match_substring_regex(values, _DATE)
        _refuse(file, name, pc.invert(shaped), values, "is not an ISO 8601 time such as 2026-05-01T12:00:00Z")
        return pa.chunked_array(
            [pa.array([_instant(file, name, row, v) for row, v in enumerate(values.to_pylist())], TIME)]
        )


def _instant(file: LogFile, name: str, row: int, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise file.error(f"{value!r} is not a time: {error}", column=name, row=row) from error


def _required(file: LogFile, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    if values.null_count:
        raise file.error("is missing a required value", column=name, row=pc.index(values.is_null(), True).as_py())
    return values


def _refuse(file: LogFile, name: str, bad: pa.ChunkedArray, values: pa.ChunkedArray, reason: str) -> None:
    row = pc.index(bad, pa.scalar(True)).as_py()
    if row >= 0:
        value = values[row].as_py()
        text = f"{value:.15g}" if isinstance(value, float) else repr(value)
        raise file.error(f"{text} {reason}", column=name, row=row)
