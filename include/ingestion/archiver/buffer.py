"""One partition's buffer in memory, and the files that it becomes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts import lake
from ingestion.archiver.checkpoints import PendingFile
from ingestion.archiver.decoding import LATE, DeadLetter, Decoded
from ingestion.landing import event_table, raw_events


class DataFile(NamedTuple):
    """A file to be written: what the checkpoint will say of it, and its bytes."""

    pending: PendingFile
    body: bytes

    @property
    def key(self) -> str:
        """Where it belongs."""
        return lake.RAW_EVENTS.hour(self.pending.hour) + self.pending.name


@dataclass
class PartitionBuffer:
    """What came from one partition since its last flush."""

    next_offset: int | None
    clock: int | None
    tables: list[pa.Table] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    messages: int = 0
    rows: int = 0
    size: int = 0
    oldest: float | None = None

    def add(self, decoded: Decoded) -> None:
        """Add one more batch."""
        self.next_offset, self.clock = decoded.next_offset, decoded.clock
        if decoded.table.num_rows:
            self.tables.append(decoded.table)
        self.dead.extend(decoded.dead)
        self.messages += decoded.messages
        self.rows += decoded.table.num_rows
        self.size += decoded.size
        if self.oldest is None:
            self.oldest = time.monotonic()

    def table(self) -> pa.Table:
        """All its rows, in the order of a raw file."""
        return event_table.sort(pa.concat_tables(self.tables).combine_chunks()) if self.tables else None


def data_files(table: pa.Table, partition: int, first_offset: int | None) -> Iterator[DataFile]:
    """One file for each hour that the rows belong to.

    A name tells partition, first offset of the flush and content: nothing that is written twice is written differently,
    and nothing that differs has one name.
    """
    for hour, rows in raw_events.by_hour(table):
        body = event_table.parquet_bytes(rows.drop_columns([LATE]))
        digest = hashlib.sha256(body).hexdigest()
        name = f"part-{partition:05d}-{first_offset or 0:015d}-{digest[:16]}.parquet"
        yield DataFile(_pending(hour, name, rows, digest), body)


def _pending(hour: datetime, name: str, rows: pa.Table, digest: str) -> PendingFile:
    late = pc.sum(rows[LATE]).as_py() or 0
    return PendingFile(hour=hour, name=name, rows=rows.num_rows, late_rows=late, sha256=digest)
