"""Billing is handed to jobs as it was known at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adrank.contracts import timestamps
from adrank_airflow.hooks.lake import LakeHook
from tests.plugins.billing_days import files, land

DAY = datetime(2026, 3, 1, tzinfo=UTC)


class TestBillingFiles:
    def test_are_those_of_every_landed_day_from_the_start_on(self, hook: LakeHook) -> None:
        for n in (-1, 0, 2):
            day = DAY + n * timestamps.DAY
            land(hook, day, 0, day + timestamps.DAY)
        found = hook.billing_files(DAY + timedelta(hours=5), DAY + 4 * timestamps.DAY)
        assert found == files(DAY, 0) + files(DAY + 2 * timestamps.DAY, 0)

    def test_leave_out_what_had_not_landed(self, hook: LakeHook) -> None:
        land(hook, DAY, 0, DAY + 2 * timestamps.DAY)
        assert hook.billing_files(DAY, DAY + 2 * timestamps.DAY - timedelta(seconds=1)) == []

    def test_are_of_the_revision_that_was_known_then(self, hook: LakeHook) -> None:
        for revision in range(3):
            land(hook, DAY, revision, DAY + (2 + revision) * timestamps.DAY)
        for days, revision in ((2, 0), (3, 1), (4, 2), (9, 2)):
            assert hook.billing_files(DAY, DAY + days * timestamps.DAY) == files(DAY, revision)
