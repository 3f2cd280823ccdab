"""Checkpoints: what one partition's archiver has landed, kept in the lake and fenced.

A checkpoint is always written over the version that its writer last saw. Taking a partition over writes one too, so an
archiver that was thought dead loses with its next write, whatever it did meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from adrank.contracts import lake
from adrank.storage.object_store import ConflictError, ObjectStore


class TakenOverError(RuntimeError):
    """Another archiver works on what this one believed to own."""


class PendingFile(BaseModel):
    """A durable data file that no manifest names yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: datetime
    name: str
    rows: int = Field(ge=1)
    late_rows: int = Field(ge=0, description="rows whose hour should have been closed when they came")
    sha256: str


class Checkpoint(BaseModel):
    """Progress of one partition. ``clock`` and ``began`` are event time, ``idle_at`` is wall time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    partition: int = Field(ge=0)
    next_offset: int | None = Field(default=None, description="None: from the beginning of the log")
    clock: datetime | None = Field(
        default=None,
        description="latest event time seen, heartbeats included, at most the skew ahead of the wall clock",
    )
    began: datetime | None = Field(default=None, description="the first clock")
    idle_at: datetime | None = Field(default=None, description="when it was last seen read to its end and silent")
    files: tuple[PendingFile, ...] = ()
    rows: int = Field(default=0, ge=0, description="landed so far")
    late_rows: int = Field(default=0, ge=0)
    dead_letters: int = Field(default=0, ge=0)
    writer: str = ""


class OwnedCheckpoint:
    """The checkpoint of a partition that this process owns. Build it with :meth:`take_over`."""

    def __init__(self, store: ObjectStore, current: Checkpoint, etag: str) -> None:
        self._store = store
        self._etag = etag
        self.current = current

    @classmethod
    def take_over(cls, store: ObjectStore, topic: str, partition: int) -> Self:
        """Own the partition from now on, from where its last owner was."""
        found = store.find_version(lake.archiver_checkpoint(topic, partition))
        known = Checkpoint.model_validate_json(found.body) if found else Checkpoint(topic=topic, partition=partition)
        mine = known.model_copy(update={"writer": uuid.uuid4().hex})
        return cls(store, mine, _write(store, mine, found.etag if found else None))

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, unless somebody else owns the partition: :class:`TakenOverError`."""
        self._etag = _write(self._store, checkpoint, self._etag)
        self.current = checkpoint


def read(store: ObjectStore, topic: str, partitions: Iterable[int]) -> list[Checkpoint | None]:
    """The checkpoints as they are now; None for a partition that nobody has owned yet."""
    bodies = (store.find(lake.archiver_checkpoint(topic, partition)) for partition in partitions)
    return [None if body is None else Checkpoint.model_validate_json(body) for body in bodies]


def _write(store: ObjectStore, checkpoint: Checkpoint, etag: str | None) -> str:
    key = lake.archiver_checkpoint(checkpoint.topic, checkpoint.partition)
    try:
        return store.put_if_match(key, checkpoint.model_dump_json(indent=1).encode(), etag)
    except ConflictError as error:
        raise TakenOverError(
            f"partition {checkpoint.partition} of {checkpoint.topic} was taken over by another archiver: {error}"
        ) from error
