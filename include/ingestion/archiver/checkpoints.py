"""Checkpoints: what one partition's archiver has landed, kept in the lake and fenced.

A checkpoint is always written over the version that its writer last saw. Taking a partition over writes one too, so an
archiver that was thought dead loses with its next write, whatever it did meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Self

from pydantic import Field

from adrank.contracts import lake
from adrank.contracts.base import FrozenModel
from adrank.storage.documents import FencedError, VersionedDocument
from adrank.storage.object_store import ConflictError, ObjectStore


class PendingFile(FrozenModel):
    """A durable data file that no manifest names yet."""

    hour: datetime
    name: str
    rows: int = Field(ge=1)
    late_rows: int = Field(ge=0, description="rows whose hour should have been closed when they came")
    sha256: str


class Checkpoint(FrozenModel):
    """Progress of one partition. ``clock`` and ``began`` are event time, ``idle_at`` is wall time."""

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
    """The checkpoint of a partition that this process owns. Build it with :meth:`acquire`."""

    def __init__(self, document: VersionedDocument[Checkpoint], current: Checkpoint) -> None:
        self._document = document
        self.current = current

    @classmethod
    def acquire(cls, store: ObjectStore, topic: str, partition: int) -> Self:
        """Own the partition from now on, from where its last owner was."""
        document = VersionedDocument.open(store, lake.archiver_checkpoint(topic, partition), Checkpoint)
        owned = cls(document, document.current or Checkpoint(topic=topic, partition=partition))
        owned.save(owned.current.model_copy(update={"writer": uuid.uuid4().hex}))
        return owned

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, unless somebody else owns the partition: :class:`FencedError`."""
        try:
            self._document.save(checkpoint)
        except ConflictError as error:
            raise FencedError(
                f"partition {checkpoint.partition} of {checkpoint.topic} was taken over by another archiver: {error}"
            ) from error
        self.current = checkpoint


def read(store: ObjectStore, topic: str, partitions: Iterable[int]) -> list[Checkpoint | None]:
    """The checkpoints as they are now; None for a partition that nobody has owned yet."""
    found = (store.find(lake.archiver_checkpoint(topic, partition)) for partition in partitions)
    return [None if body is None else Checkpoint.model_validate_json(body) for body in found]
