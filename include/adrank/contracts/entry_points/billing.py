"""The arguments of the job that lands a billing export."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from adrank.contracts.entry_points.command_line import Day, EntryPointArguments, setting
from adrank.contracts.settings import Billing


class LandBilling(EntryPointArguments):
    """Take one night's billing export from the inbox: land it, or put it into quarantine and say why."""

    program = "ingestion.billing"

    day: Day = Field(description="UTC day of the export, e.g. 2026-03-01")
    bucket: str = setting(lambda s: s.lake.bucket, description="bucket of the lake")
    currency: str = setting(lambda s: s.billing.currency, description="the one currency that amounts must be in")
    lag: timedelta = setting(
        lambda s: s.billing.lag, default=Billing().lag, description="see the billing manifest's `landed_at`"
    )
