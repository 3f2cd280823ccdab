"""What one capture process has landed so far and where it goes on: one object in the lake, beside the data.

It is written after the files that it names and before the database is told that their changes may be forgotten. So
the machine that captures may be lost with all its disks, and a file that no checkpoint knew never enters a manifest.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from adrank.contracts import lake
from adrank.contracts.base import FrozenModel
from adrank.contracts.manifests import DataFile
from adrank.storage.documents import FencedError, VersionedDocument
from adrank.storage.object_store import ConflictError, ObjectStore
from ingestion.landing.changes import CdcTable


class CheckpointError(RuntimeError):
    """The checkpoint cannot be used; the message says why and what to do."""


class LandedFile(FrozenModel):
    """A file that is durable and that no manifest names yet."""

    table: CdcTable
    hour: datetime
    file: DataFile


class Ahead(FrozenModel):
    """Changes after the offset that have landed all the same: the first ``records`` at position ``lsn`` of the log.

    Several changes can have one position (a bulk load, a changed key); the engine can only go on behind all of them.
    """

    lsn: int
    records: int = Field(ge=1)


class Checkpoint(FrozenModel):
    """``log``: the database log that positions belong to. ``offset``: the engine's own, None before a whole snapshot.

    ``watermark``: the newest heartbeat. Hours in ``[since, closed)`` have their manifests.
    """

    log: str
    offset: dict[str, str | int | bool | None] | None = None
    ahead: Ahead | None = None
    watermark: datetime | None = None
    since: datetime | None = None
    closed: datetime | None = None
    files: tuple[LandedFile, ...] = ()


class CheckpointStore:
    """The checkpoint of one slot. Of two processes that write it, the one that began earlier fails."""

    def __init__(self, store: ObjectStore, slot: str) -> None:
        self._bucket = store.bucket
        self._document = VersionedDocument.open(store, lake.CDC_CHECKPOINT.of(slot), Checkpoint)
        self.key = self._document.key

    def load(self, log: str) -> Checkpoint:
        """The checkpoint that is there, or the first one.

        :raises CheckpointError: it belongs to another database's log.
        """
        checkpoint = self._document.current or Checkpoint(log=log)
        if checkpoint.log != log:
            raise CheckpointError(
                f"s3://{self._bucket}/{self.key} belongs to log {checkpoint.log}, the database's is {log}; "
                "go back to that database, or delete the checkpoint to begin with a new snapshot"
            )
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint that this process wrote or loaded last.

        :raises FencedError: another process has written it since.
        """
        try:
            self._document.save(checkpoint)
        except ConflictError as error:
            raise FencedError(f"{error}: two capture processes have slot {self.key}; this one ends") from error
