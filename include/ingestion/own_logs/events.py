"""A user's own events, made into raw events.

Delivery is at least once, so a repeated ``event_id`` is dropped and counted. Two things that no lake row may be are
kept apart with a reason instead of landing: an outcome (click, contact, sale) whose search and ad have no impression,
and an event whose id another, different event has used. Columns that the contract does not know become request-time
context when they are numbers, and are noted as ignored when they are not. ``slot``, the order that the incumbent ranks
by, is the logged position.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts.events import EVENT_COLUMNS, EVENT_TYPES, REQUIRED_EVENT_COLUMNS, SLOT_KEY
from ingestion.landing.event_table import EVENT_SCHEMA, context_maps
from ingestion.own_logs import columns as log_columns
from ingestion.own_logs import files
from ingestion.own_logs.files import LogFile, OwnLogsError

ORPHAN: Final = "outcome without impression"
CONFLICT: Final = "event_id used by another event"
_NO_EXPERIMENT: Final = ("model_version", "experiment_id", "variant")


@dataclass(frozen=True)
class LoggedEvents:
    """``accepted`` has the event schema in order of event time; ``rejected`` has it too, and ``reason``.

    ``source_rows`` gives each accepted row's 0-based row in ``file``.
    """

    file: LogFile
    accepted: pa.Table
    source_rows: npt.NDArray[np.int64]
    rejected: pa.Table
    duplicates: int
    context_features: tuple[str, ...]
    ignored_columns: dict[str, str]


def read_events(directory: Path) -> LoggedEvents:
    """Read and check ``events.parquet|csv|jsonl``; raises :class:`ingestion.own_logs.files.OwnLogsError`."""
    path = files.find(directory, "events")
    if path is None:
        raise OwnLogsError(f"{directory}: holds no events file; expected events.parquet, events.csv or events.jsonl")
    file = files.read(path)
    file.require(REQUIRED_EVENT_COLUMNS)
    ignored: dict[str, str] = {}
    context = _context_columns(file, ignored)
    columns = _contract_columns(file)
    maps = context_maps([*context, SLOT_KEY], [*context.values(), columns["position"]])
    table = pa.table({**columns, "context": maps}, schema=EVENT_SCHEMA)
    impressions = pc.equal(table["event_type"], "impression")
    if not pc.any(impressions).as_py():
        raise file.error("holds no impression", column="event_type")
    repeated, conflicting = _repeated_ids(table)
    usable = ~(repeated | conflicting)
    orphan = _orphans(table, usable)
    kept = np.flatnonzero(usable & ~orphan)
    accepted = table.take(pa.array(kept))
    order = np.asarray(pc.sort_indices(accepted, sort_keys=[("event_time", "ascending"), ("event_id", "ascending")]))
    refused = np.flatnonzero(conflicting | orphan)
    reasons = pa.array([CONFLICT if conflicting[row] else ORPHAN for row in refused], pa.string())
    return LoggedEvents(
        file=file,
        accepted=accepted.take(pa.array(order)),
        source_rows=kept[order],
        rejected=table.take(pa.array(refused)).append_column("reason", reasons),
        duplicates=int(repeated.sum()),
        context_features=tuple(sorted(context)),
        ignored_columns=ignored,
    )


def _contract_columns(file: LogFile) -> dict[str, pa.ChunkedArray]:
    columns = {
        name: log_columns.text(file, name, required=name in REQUIRED_EVENT_COLUMNS)
        for name, kind in EVENT_COLUMNS.items()
        if kind == "string"
    }
    log_columns.one_of(file, "event_type", columns["event_type"], EVENT_TYPES)
    for name in _NO_EXPERIMENT:
        columns[name] = pc.fill_null(columns[name], "")
    columns["event_time"] = log_columns.moment(file, "event_time", required=True)
    columns["ingest_time"] = pc.coalesce(log_columns.moment(file, "ingest_time"), columns["event_time"])
    columns["position"] = log_columns.whole_number(file, "position", minimum=1, required=True)
    columns["revenue"] = log_columns.number(file, "revenue")
    log_columns.at_least(file, "revenue", columns["revenue"], 0)
    return columns


def _context_columns(file: LogFile, ignored: dict[str, str]) -> dict[str, pa.ChunkedArray]:
    """Context feature -> its column: the file's own ``context`` first, then extra numeric columns."""
    found = _own_context(file)
    for name in file.columns:
        if name in EVENT_COLUMNS:
            continue
        try:
            found[name] = log_columns.number(file, name)
        except OwnLogsError as error:
            ignored[name] = f"not numeric: {error}"
    if SLOT_KEY in found:
        ignored[SLOT_KEY] = "reserved: the logged position takes its place"
    for name in [name for name, column in found.items() if name == SLOT_KEY or column.null_count == file.rows]:
        ignored.setdefault(name, "holds no value")
        del found[name]
    return found


def _own_context(file: LogFile) -> dict[str, pa.ChunkedArray]:
    """Features of a ``context`` column, which is a map, a struct or JSON text."""
    raw = file.columns.get("context")
    if raw is None or raw.null_count == file.rows:
        return {}
    features: dict[str, list[float | None]] = {}
    for row, value in enumerate(raw.to_pylist()):
        for name, number in _context_items(file, row, value):
            features.setdefault(name, [None] * file.rows)[row] = number
    return {name: pa.chunked_array([pa.array(values, pa.float64())]) for name, values in features.items()}


def _context_items(file: LogFile, row: int, value: object) -> list[tuple[str, float | None]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise file.error(f"is not JSON: {error}", column="context", row=row) from error
    if value is None:
        return []
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list):
        raise file.error("is not an object of name: number", column="context", row=row)
    for name, number in pairs:
        if number is not None and (not isinstance(number, int | float) or not np.isfinite(number)):
            raise file.error(f"{name} is {number!r}; expected a finite number", column="context", row=row)
    return pairs


def _codes(*columns: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """One integer per distinct tuple of strings."""
    total = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = column.combine_chunks().dictionary_encode()
        total = total * len(encoded.dictionary) + np.asarray(encoded.indices).astype(np.int64)
    return total


def _repeated_ids(table: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(redeliveries of an event, other events under a used id) as row masks; the first row of an id is neither."""
    ids = _codes(table["event_id"])
    what = _codes(table["event_type"], table["search_id"], table["ad_id"])
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    first_row = first[inverse]
    later = first_row != np.arange(len(ids))
    same = what == what[first_row]
    return later & same, later & ~same


def _orphans(table: pa.Table, usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Usable outcomes whose (search, ad) no usable impression has."""
    shown = np.asarray(pc.equal(table["event_type"], "impression").combine_chunks().cast(pa.uint8())).astype(bool)
    what = _codes(table["search_id"], table["ad_id"])
    outcomes = np.flatnonzero(usable & ~shown)
    orphans = np.zeros(len(what), dtype=np.bool_)
    orphans[outcomes] = ~np.isin(what[outcomes], what[shown & usable])
    return orphans
