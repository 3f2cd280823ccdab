"""### Weekly ranking model

**What.** Trains a multi-objective LambdaMART ranker, gates it against production, proves it in an A/B test on live
users, and puts it into production after a product manager approved it.

**When.** Weekly, and by hand from the form with an `as_of`. One run at a time.

**Reads.** `s3://<lake>/raw/events/`, `raw/cdc/ads/`, `raw/billing/`, `features/<group>/`, `audit/` as of the run;
MLflow alias `production`.

**Writes.** `training/<run>/` (inputs, training set, models, evidence, approval) · `models/<digest>/` ·
`experiments/<id>/` · MLflow run, version, aliases `candidate → staging → production`, `previous` · endpoints.

**Owner.** ml-ranking. A verdict other than promote ends the run green, with production as it was. With nothing in
production there is nothing to compare with: the model is deployed once approved, without an A/B.

**When it fails.** Every task re-attaches to what an earlier try started: clear it once the cause is gone. The
staging endpoint is removed and routing stopped on every path. `require_consistency`: online features differ from the
lake's, by the group, feature and hour that it names. `production.*` red: production is on its previous configuration,
which `restore_production` checks; aliases move only after verification. Nothing needs doing at night.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from adrank.contracts import lake
from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import RUN_KEY, access_control, task_defaults
from adrank_airflow.operators.release.endpoint import RemoveStagingOperator
from adrank_airflow.operators.training.report import ReportRunOperator
from adrank_airflow.task_groups import gate, live_test, promotion, training

SETTINGS = load()

with DAG(
    dag_id="ranking_training_weekly",
    description="Training set -> model -> gate -> registry -> staging -> A/B -> approval -> blue/green",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(SETTINGS.airflow.training_cron, timezone="UTC"),
    start_date=SETTINGS.airflow.training_start,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=SETTINGS.experiment.wall_clock_timeout + SETTINGS.approval.timeout + timedelta(days=1),
    default_args=task_defaults(SETTINGS, owner="ml-ranking"),
    access_control=access_control(SETTINGS),
    params={"as_of": Param(default=None, type=["null", "string"], format="date-time", description="Look back from")},
    tags=["adrank", "training", "weekly", "oncall:next-working-day"],
) as dag:
    trained = training.training(SETTINGS, RUN_KEY)
    judged = gate.gate(SETTINGS, RUN_KEY, trained.plan_inputs, trained.train_model)
    registered = training.registration(trained.train_model, judged.judge_candidate)
    candidate = promotion.Candidate.registered_by(registered.register_package)
    staging = live_test.staging(candidate)
    ab_test = live_test.ab_test(candidate, trained.plan_inputs)
    approval = promotion.approval(
        SETTINGS,
        candidate,
        lake.approval(RUN_KEY),
        train_model=trained.train_model,
        judge_candidate=judged.judge_candidate,
        await_verdict=ab_test.await_verdict,
    )
    production = promotion.production(candidate, lake.approval(RUN_KEY), approval)
    remove_staging = RemoveStagingOperator(task_id="remove_staging")
    report = ReportRunOperator(
        task_id="report",
        key=lake.run_report(RUN_KEY),
        gate=judged.judge_candidate,
        experiment=ab_test.await_verdict,
        approval=production.check_approval,
        promotion=production.move_aliases,
        trigger_rule="none_failed",
    )

    judged.gate_decision.follow(registered.register_package, "pass")
    ab_test.experiment_decision.follow(approval.collect_evidence, "promote")

    trained.prepare >> trained.train >> judged.evaluate_candidate
    judged.gate_decision >> registered.group >> staging.group >> ab_test.choose_comparison
    [ab_test.first_model, ab_test.experiment_decision] >> approval.collect_evidence
    approval.approve_promotion >> production.check_approval
    ab_test.stop_routing.as_teardown(setups=[staging.claim_staging, ab_test.start_routing])
    ends = [judged.rejected, ab_test.not_promoted, production.move_aliases, production.restore_production]
    [staging.mark_staging, *ends] >> remove_staging
    remove_staging.as_teardown(setups=staging.claim_staging)
    [*ends, remove_staging] >> report
