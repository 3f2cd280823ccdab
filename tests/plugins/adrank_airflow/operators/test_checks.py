"""Training refuses features that are online otherwise than in the lake, by name, and features that nobody audited; a
billing export in quarantine is refused loudly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from adrank.contracts import lake as layout
from adrank.contracts import registry, timestamps
from adrank.contracts.manifests import AuditManifest, FeatureAudit, GroupAudit
from adrank.contracts.settings import Audit, Settings
from adrank_airflow.errors import ExportQuarantinedError, InconsistentFeaturesError, UnauditedFeaturesError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.operators.checks import RequireBilledDayOperator, RequireConsistencyOperator

AS_OF = datetime(2026, 3, 2, 4, 30, tzinfo=UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
GROUP = "ad_engagement"


def group(mismatched: int = 0, **found: Any) -> GroupAudit:
    features = {
        "clicks_7d": FeatureAudit(mismatched=mismatched, smape=0),
        "ctr_7d": FeatureAudit(mismatched=mismatched // 2, smape=0),
    }
    return GroupAudit(
        group=GROUP, **{"rows": 5000, "sampled": 5000, "mismatched": mismatched, **found}, features=features
    )


class Audits:
    """Results of audits in the lake, by hours before the run's as-of time."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._bucket = settings.lake.bucket

    def put(self, hours_before: int, *groups: GroupAudit, fingerprint: str = registry.load().fingerprint) -> None:
        hour = timestamps.floor_hour(AS_OF) - hours_before * timestamps.HOUR
        audit = AuditManifest(
            hour=hour, fingerprint=fingerprint, max_skew=1, consistent=True, skew=0, reasons=(), groups=groups
        )
        self._client.put_object(Bucket=self._bucket, Key=layout.audit(hour), Body=audit.model_dump_json().encode())


@pytest.fixture
def audits(lake: Any, settings: Settings) -> Audits:
    return Audits(lake, settings)


def run(settings: Settings, **wanted: Any) -> Any:
    chosen = settings.model_copy(update={"audit": Audit(**wanted)})
    task = RequireConsistencyOperator(task_id="require_consistency", settings=chosen, at=AS_OF.isoformat())
    return task.execute({})


def test_an_audit_within_the_limit_lets_training_go_on(audits: Audits, settings: Settings) -> None:
    audits.put(1, group(mismatched=50))
    assert run(settings) == {
        "hour": "2026-03-02T03:00:00+00:00",
        "skew": 0.01,
        "reasons": ["ad_engagement: 50 of 5000 sampled keys differ (1.00%): 50 mismatched; most in clicks_7d (50)"],
    }


def test_a_skew_above_the_limit_is_refused_by_group_feature_hour_and_number(audits: Audits, settings: Settings) -> None:
    audits.put(1, group(mismatched=60))
    with pytest.raises(
        InconsistentFeaturesError,
        match=r"features of 2026-03-02T03:00:00\+00:00 have a skew of 1\.20%, the limit is 1\.00%: "
        r"ad_engagement: 60 of 5000 .* most in clicks_7d \(60\).*s3://.*audit/dt=2026-03-02/hr=03/results.json",
    ) as refusal:
        run(settings)
    assert isinstance(refusal.value, AirflowFailException), "a retry would read the same"


def test_the_limit_is_that_of_the_settings_not_of_the_audit(audits: Audits, settings: Settings) -> None:
    audits.put(1, group(mismatched=60))
    assert run(settings, max_skew=0.02)["skew"] == 0.012
    with pytest.raises(InconsistentFeaturesError, match=r"limit is 0\.50%"):
        run(settings, max_skew=0.005)


def test_the_newest_audit_decides(audits: Audits, settings: Settings) -> None:
    audits.put(3, group(mismatched=5000))
    audits.put(2, group())
    assert run(settings)["hour"] == "2026-03-02T02:00:00+00:00"
    audits.put(1, group(mismatched=5000))
    with pytest.raises(InconsistentFeaturesError):
        run(settings)


def test_without_a_recent_audit_training_is_refused_and_told_what_to_do(audits: Audits, settings: Settings) -> None:
    audits.put(7, group())
    with pytest.raises(
        UnauditedFeaturesError,
        match=r"no hour from 2026-03-01T22:00:00\+00:00 to 2026-03-02T04:00:00\+00:00 .*ranking_features_hourly"
        ".*ADRANK_AUDIT__ALLOW_UNAUDITED",
    ) as refusal:
        run(settings)
    assert isinstance(refusal.value, AirflowFailException)
    assert run(settings, max_age=timedelta(hours=7))["skew"] == 0


def test_the_settings_may_allow_what_nobody_audited(
    audits: Audits, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = run(settings, allow_unaudited=True)
    assert (allowed["hour"], allowed["skew"]) == (None, None)
    assert "has an audit of its features; the settings allow that" in capsys.readouterr().out


def test_what_was_audited_still_counts_where_the_settings_allow_nothing_to_be(
    audits: Audits, settings: Settings
) -> None:
    audits.put(1, group(mismatched=60))
    with pytest.raises(InconsistentFeaturesError):
        run(settings, allow_unaudited=True)


def test_an_audit_of_another_registry_or_one_that_was_overtaken_counts_as_none(
    audits: Audits, settings: Settings
) -> None:
    audits.put(1, group(newer=5000))
    audits.put(2, group(), fingerprint="0" * 64)
    with pytest.raises(UnauditedFeaturesError):
        run(settings)
    audits.put(3, group())
    assert run(settings)["hour"] == "2026-03-02T01:00:00+00:00"


def test_the_hour_that_the_run_looks_back_from_is_not_waited_for(audits: Audits, settings: Settings) -> None:
    audits.put(0, group())
    with pytest.raises(UnauditedFeaturesError):
        run(settings)


def verdict(**changes: Any) -> dict[str, Any]:
    landed = {"outcome": "landed", "key": "raw/x.csv", "reason": "", "revision": 0, "rows": 3, "total": "1.00"}
    return {**landed, "currency": "EUR", **changes}


class TestTheVerdictOnABillingExport:
    @pytest.fixture
    def task(self, settings: Settings) -> RequireBilledDayOperator:
        return RequireBilledDayOperator(task_id="require", settings=settings, at=DAY.isoformat())

    def test_of_a_landed_export_passes_its_figures_on(
        self, hook: LakeHook, task: RequireBilledDayOperator, context: Any
    ) -> None:
        hook.write_json("verdicts/billing/dt=2026-03-01/verdict.json", verdict())
        landed = task.execute(context)
        assert (landed["outcome"], landed["revision"], landed["total"]) == ("landed", 0, "1.00")

    @pytest.mark.parametrize(("revision", "kept"), [(None, "nothing of that day"), (1, "revision 1")])
    def test_of_a_quarantined_export_fails_for_good_and_says_why(
        self, hook: LakeHook, task: RequireBilledDayOperator, context: Any, revision: int | None, kept: str
    ) -> None:
        refused = verdict(outcome="quarantined", key="quarantine/x/", reason="export.csv: row 3: no", revision=revision)
        hook.write_json("verdicts/billing/dt=2026-03-01/verdict.json", refused)
        with pytest.raises(ExportQuarantinedError, match=f"row 3: no; quarantined at s3://.*/quarantine/x/; .* {kept}"):
            task.execute(context)

    def test_of_quarantine_is_not_retried(self) -> None:
        assert issubclass(ExportQuarantinedError, AirflowFailException)
