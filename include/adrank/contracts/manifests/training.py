"""The manifest of a training set."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from adrank.contracts.base import FrozenModel


class TrainingSetManifest(FrozenModel):
    """What the training set was built from and what came out. Its digest names the set."""

    as_of: datetime
    train_start: datetime
    test_start: datetime
    end: datetime
    impressions: int = Field(ge=0, description="impressions that entered the point-in-time join")
    rows: int = Field(ge=0, description="rows that left it; equal to impressions")
    queries: int = Field(ge=0)
    train_rows: int = Field(ge=0)
    test_rows: int = Field(ge=0)
    features: tuple[str, ...]
    fingerprint: str
    content_digest: str
    billed_events: int = Field(default=0, ge=0, description="answers whose revenue is what was billed")
    provisional_events: int = Field(default=0, ge=0, description="answers with revenue that may yet be billed")
    expired_events: int = Field(default=0, ge=0, description="answers that earned nothing: never billed, now mature")
    billed_revenue: float = 0
    provisional_revenue: float = 0
    unmatched_events: int = Field(default=0, ge=0, description="events that were billed and are no answer of the log")
    unmatched_revenue: float = Field(default=0, description="what these were billed; no row of the set has it")
