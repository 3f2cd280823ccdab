"""Manifests of the raw layer: events, change data, billing, and the catalogue folded from change data."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import Field

from adrank.contracts.base import FrozenModel


class DataFile(FrozenModel):
    """One file of a partition: name relative to the manifest's prefix, rows, SHA-256 of its bytes."""

    name: str
    rows: int = Field(ge=0)
    sha256: str = ""


class RawManifest(FrozenModel):
    """One raw hour. ``watermark`` is the event time before which no more events are expected."""

    hour: datetime
    revision: int = Field(default=0, ge=0)
    revision_time: datetime
    watermark: datetime
    files: tuple[DataFile, ...] = ()
    rows: int = Field(ge=0)
    late_rows: int = Field(default=0, ge=0)
    rejected_rows: int = Field(default=0, ge=0)

    @property
    def digest(self) -> str:
        """Of what the hour holds, whatever revision it is called."""
        held = "\n".join(f"{file.name} {file.rows} {file.sha256}" for file in self.files)
        return hashlib.sha256(f"{self.revision}\n{held}".encode()).hexdigest()


class CdcManifest(FrozenModel):
    """One hour of change data of one table is complete up to ``watermark``."""

    table: str
    hour: datetime
    watermark: datetime
    files: tuple[DataFile, ...] = ()
    changes: int = Field(ge=0)


class CatalogueManifest(FrozenModel):
    """What one table was as a UTC day began, in a form that change data since is folded on.

    It counts while the claim of its ``attempt`` is there (:func:`adrank.contracts.lake.catalogue_claim`).
    """

    table: str
    day: datetime
    columns: dict[str, str] = Field(description="name -> kind of what was folded; of other columns it says nothing")
    truncations: int = Field(ge=0)
    attempt: str
    files: tuple[str, ...] = Field(description="relative to the day's prefix")


class BillingManifest(FrozenModel):
    """The one valid export of a day. ``total`` is a decimal in ``currency``; a corrected export is a new revision.

    Every revision's manifest is kept; as of a time, a reader takes the day's newest one with ``landed_at`` at or
    before it. ``landed_at`` is event time, by rule: the first revision counts as landed ``Billing.lag`` after its
    day's end, whenever it came, so that catching up with missed nights changes no clock; a correction when the raw
    log's watermark says that it came, and never before what it corrects, so that a training set can be built again
    as it was.
    """

    day: datetime
    revision: int = Field(default=0, ge=0)
    landed_at: datetime
    currency: str
    total: str
    file: DataFile


class BillingVerdict(FrozenModel):
    """What became of a day's export. ``key`` is the landed file, or the prefix of the quarantined copy.

    ``revision``, ``rows`` and ``total`` are those of what the lake now holds of that day, whatever was refused; null
    when it holds nothing. The counts are per run, for metrics. ``delivered`` are the SHA-256 digests of the files that
    were looked at, by name: another delivery in the inbox has not been.
    """

    day: datetime
    outcome: Literal["landed", "unchanged", "quarantined"]
    key: str
    file: str = ""
    row: int | None = None
    reason: str = ""
    currency: str
    revision: int | None = None
    rows: int | None = None
    total: str | None = None
    landed_exports: int = 0
    quarantined_exports: int = 0
    delivered: dict[str, str] = {}
