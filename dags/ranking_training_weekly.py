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

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from adrank.contracts import lake
from adrank.contracts.entry_points.training import BuildTrainingSet, Evaluate, TrainHyperparameters
from adrank.contracts.settings import load
from adrank_airflow import xcom
from adrank_airflow.dag_defaults import AS_OF, RUN_KEY, access_control, task_defaults
from adrank_airflow.operators.checks import RequireConsistencyOperator
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator, SageMakerTrainingJobOperator
from adrank_airflow.operators.release.approval import CheckApprovalOperator, CollectEvidenceOperator
from adrank_airflow.operators.release.endpoint import (
    ClaimStagingOperator,
    DeployEndpointOperator,
    RemoveStagingOperator,
    RestoreProductionOperator,
)
from adrank_airflow.operators.release.experiment_routing import StartRoutingOperator, StopRoutingOperator
from adrank_airflow.operators.release.experiment_verdict import AwaitExperimentVerdictOperator
from adrank_airflow.operators.release.serving_checks import CheckParityOperator, VerifyServingOperator
from adrank_airflow.operators.training.inputs import PlanTrainingInputsOperator
from adrank_airflow.operators.training.model_registry import (
    MoveAliasOperator,
    PromoteAliasesOperator,
    RegisterPackageOperator,
)
from adrank_airflow.operators.training.report import ReportRunOperator
from adrank_airflow.operators.verdicts import ExperimentBranchOperator, JudgeCandidateOperator, VerdictBranchOperator
from adrank_airflow.sensors.lake import FeaturesReadySensor

SETTINGS = load()
EXPERIMENT = f"ab-{RUN_KEY}"

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
    with TaskGroup("prepare", tooltip="A point-in-time training set") as prepare:
        wait_for_features = FeaturesReadySensor(task_id="wait_for_features", at=AS_OF)
        require_consistency = RequireConsistencyOperator(task_id="require_consistency", at=AS_OF)
        plan_inputs = PlanTrainingInputsOperator(task_id="plan_inputs", at=AS_OF)
        build_training_set = SageMakerProcessingJobOperator(
            task_id="build_training_set",
            job="training-set",
            as_of=AS_OF,
            entry_point=BuildTrainingSet,
            values={"as_of": AS_OF},
            inputs={name: xcom.field(plan_inputs, name) for name in ("events", "features", "ads", "billing")},
            outputs={"training_set": lake.TRAINING_SET.of(RUN_KEY)},
        )
        wait_for_features >> require_consistency >> plan_inputs >> build_training_set

    with TaskGroup("train", tooltip="LightGBM lambdarank, logged to MLflow") as train:
        train_model = SageMakerTrainingJobOperator(
            task_id="train_model",
            job="train",
            as_of=AS_OF,
            hyperparameters=TrainHyperparameters.from_settings(SETTINGS),
            training_set=lake.TRAINING_SET.of(RUN_KEY),
            output_prefix=lake.TRAINED_MODELS.of(RUN_KEY),
        )

    with TaskGroup("gate", tooltip="Candidate against production on the same frozen slice"):
        evaluate_candidate = SageMakerProcessingJobOperator(
            task_id="evaluate_candidate",
            job="evaluate",
            as_of=AS_OF,
            entry_point=Evaluate,
            values={
                "candidate_digest": xcom.field(train_model, "package_digest"),
                "production_digest": xcom.field(plan_inputs, "production_digest"),
            },
            inputs={
                "training_set": lake.uri(SETTINGS.lake.bucket, lake.TRAINING_SET.of(RUN_KEY)),
                "candidate": xcom.field(train_model, "model_data_url"),
                "production": xcom.field(plan_inputs, "production_model"),
            },
            outputs={"evidence": lake.GATE_EVIDENCE.of(RUN_KEY)},
        )
        judge_candidate = JudgeCandidateOperator(
            task_id="judge_candidate", evidence_prefix=lake.GATE_EVIDENCE.of(RUN_KEY)
        )
        gate_decision = VerdictBranchOperator(task_id="gate_decision", verdict=xcom.field(judge_candidate, "verdict"))
        rejected = EmptyOperator(task_id="rejected")
        evaluate_candidate >> judge_candidate >> gate_decision >> rejected

    with TaskGroup("register", tooltip="MLflow version and alias") as register:
        register_package = RegisterPackageOperator(
            task_id="register_package",
            trained=train_model.output,
            tags={"run_key": RUN_KEY, "gate": xcom.field(judge_candidate, "key"), "dag_run": "{{ run_id }}"},
        )
        version, package_digest, model_data_url, golden_key = (
            xcom.field(register_package, name) for name in ("version", "package_digest", "model_data_url", "golden_key")
        )

    with TaskGroup("staging", tooltip="A dedicated endpoint that answers golden requests as promised") as staging:
        claim_staging = ClaimStagingOperator(task_id="claim_staging")
        deploy_staging = DeployEndpointOperator(
            task_id="deploy_staging", role="staging", package_digest=package_digest, model_data_url=model_data_url
        )
        check_parity = CheckParityOperator(
            task_id="check_parity", role="staging", package_digest=package_digest, golden_key=golden_key
        )
        mark_staging = MoveAliasOperator(
            task_id="mark_staging", alias="staging", version=version, why="golden requests reproduced"
        )
        claim_staging >> deploy_staging >> check_parity >> mark_staging

    with TaskGroup("ab_test", tooltip="A share of users for 24 h of event time"):
        first_model = EmptyOperator(task_id="first_model")
        start_routing = StartRoutingOperator(
            task_id="start_routing", experiment=EXPERIMENT, package_digest=package_digest
        )
        choose_comparison = ExperimentBranchOperator(
            task_id="choose_comparison",
            production_digest=xcom.field(plan_inputs, "production_digest"),
            compare=start_routing,
            first=first_model,
        )
        await_verdict = AwaitExperimentVerdictOperator(
            task_id="await_verdict", experiment_id=xcom.field(start_routing, "experiment_id")
        )
        stop_routing = StopRoutingOperator(task_id="stop_routing", experiment=EXPERIMENT)
        experiment_decision = VerdictBranchOperator(
            task_id="experiment_decision", verdict=xcom.field(await_verdict, "verdict")
        )
        not_promoted = EmptyOperator(task_id="not_promoted")
        choose_comparison >> [first_model, start_routing]
        start_routing >> await_verdict >> stop_routing >> experiment_decision >> not_promoted
        await_verdict >> experiment_decision

    # Evidence in the body, bound to the package digest; assigned approvers; silence is a no.
    with TaskGroup("approval", tooltip="A product manager decides on the evidence"):
        collect_evidence = CollectEvidenceOperator(
            task_id="collect_evidence",
            prefix=lake.APPROVAL.of(RUN_KEY),
            package_digest=package_digest,
            version=version,
            figures={name: xcom.field(train_model, name) for name in ("ndcg_at_10", "logged_order_ndcg_at_10")},
            gate_verdict_key=xcom.field(judge_candidate, "key"),
            experiment_verdict_key=xcom.field_or_empty(await_verdict, "key"),
            trigger_rule="none_failed_min_one_success",
        )
        approve_promotion = ApprovalOperator(
            task_id="approve_promotion",
            subject=f"Put ranking-model version {version} into production?",
            body=xcom.field(collect_evidence, "body"),
            defaults="Reject",
            response_timeout=SETTINGS.approval.timeout,
            execution_timeout=None,
            assigned_users=[{"id": name, "name": name} for name in SETTINGS.approval.approvers],
        )
        collect_evidence >> approve_promotion

    # The only way for a package to go live.
    with TaskGroup("production", tooltip="Blue/green, verified, then the aliases"):
        check_approval = CheckApprovalOperator(
            task_id="check_approval",
            prefix=lake.APPROVAL.of(RUN_KEY),
            package_digest=package_digest,
            approved=collect_evidence.output,
            answer=approve_promotion.output,
        )
        shift_traffic = DeployEndpointOperator(
            task_id="shift_traffic", role="production", package_digest=package_digest, model_data_url=model_data_url
        )
        verify_production = VerifyServingOperator(
            task_id="verify_production",
            role="production",
            package_digest=package_digest,
            endpoint_config=xcom.field(shift_traffic, "endpoint_config"),
        )
        move_aliases = PromoteAliasesOperator(
            task_id="move_aliases", version=version, why="approved and verified in production"
        )
        restore_production = RestoreProductionOperator(
            task_id="restore_production",
            approved_digest=xcom.field_or_empty(check_approval, "package_digest"),
            trigger_rule="one_failed",
        )
        check_approval >> shift_traffic >> verify_production >> move_aliases
        [shift_traffic, verify_production, move_aliases] >> restore_production

    remove_staging = RemoveStagingOperator(task_id="remove_staging")
    report = ReportRunOperator(
        task_id="report",
        key=lake.RUN_REPORT.of(RUN_KEY),
        gate=judge_candidate,
        experiment=await_verdict,
        approval=check_approval,
        promotion=move_aliases,
        trigger_rule="none_failed",
    )

    gate_decision.follow(register_package, "pass")
    gate_decision.follow(rejected, "reject")
    experiment_decision.follow(collect_evidence, "promote")
    experiment_decision.follow(not_promoted, "reject", "extend", "invalid")

    prepare >> train >> evaluate_candidate
    gate_decision >> register >> staging >> choose_comparison
    [first_model, experiment_decision] >> collect_evidence
    approve_promotion >> check_approval
    stop_routing.as_teardown(setups=[claim_staging, start_routing])
    ends = [rejected, not_promoted, move_aliases, restore_production]
    [mark_staging, *ends] >> remove_staging
    remove_staging.as_teardown(setups=claim_staging)
    [*ends, remove_staging] >> report
