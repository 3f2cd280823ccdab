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
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import AS_OF, RUN_KEY, access_control, task_defaults
from adrank_airflow.operators import verdicts
from adrank_airflow.operators.checks import RequireConsistencyOperator
from adrank_airflow.operators.jobs import sagemaker_job
from adrank_airflow.operators.release import endpoint, experiment_routing
from adrank_airflow.operators.release.experiment_verdict import AwaitExperimentVerdictOperator
from adrank_airflow.operators.release.serving_checks import CheckParityOperator
from adrank_airflow.operators.training import model_registry
from adrank_airflow.operators.training.inputs import PlanTrainingInputsOperator
from adrank_airflow.operators.training.report import ReportRunOperator
from adrank_airflow.sensors.lake import FeaturesReadySensor
from adrank_airflow.task_groups import gate, promotion
from adrank_airflow.xcom import of

SETTINGS = load()
RUN = f"training/{RUN_KEY}/"
CANDIDATE = promotion.Candidate(
    *(of("register.register_package", name) for name in ("package_digest", "version", "model_data_url"))
)

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
        wait_for_features = FeaturesReadySensor(task_id="wait_for_features", as_of=AS_OF)
        require_consistency = RequireConsistencyOperator(task_id="require_consistency", as_of=AS_OF)
        plan_inputs = PlanTrainingInputsOperator(task_id="plan_inputs", as_of=AS_OF)
        build_training_set = sagemaker_job.SageMakerProcessingJobOperator(
            task_id="build_training_set",
            job="training-set",
            as_of=AS_OF,
            entrypoint="training.build_training_set",
            arguments=["--as-of", AS_OF, *SETTINGS.training_set_arguments()],
            inputs={name: of("prepare.plan_inputs", name) for name in ("events", "features", "ads", "billing")},
            outputs={"training_set": f"{RUN}training_set/"},
        )
        wait_for_features >> require_consistency >> plan_inputs >> build_training_set

    with TaskGroup("train", tooltip="LightGBM lambdarank, logged to MLflow") as train:
        train_model = sagemaker_job.SageMakerTrainingJobOperator(
            task_id="train_model",
            job="train",
            as_of=AS_OF,
            hyperparameters=SETTINGS.hyperparameters(),
            training_set=f"{RUN}training_set/",
            output_prefix=f"{RUN}model/",
        )

    judged = gate.gate(SETTINGS, RUN)

    with TaskGroup("register", tooltip="MLflow version and alias") as register:
        register_package = model_registry.RegisterPackageOperator(
            task_id="register_package",
            trained=train_model.output,
            tags={"run_key": RUN_KEY, "gate": of("gate.judge_candidate", "key"), "dag_run": "{{ run_id }}"},
        )

    with TaskGroup("staging", tooltip="A dedicated endpoint that answers golden requests as promised") as staging:
        claim_staging = endpoint.ClaimStagingOperator(task_id="claim_staging")
        deploy_staging = endpoint.DeployEndpointOperator(
            task_id="deploy_staging",
            role="staging",
            package_digest=CANDIDATE.package_digest,
            model_data_url=CANDIDATE.model_data_url,
        )
        check_parity = CheckParityOperator(
            task_id="check_parity",
            role="staging",
            package_digest=CANDIDATE.package_digest,
            golden_key=of("register.register_package", "golden_key"),
        )
        mark_staging = model_registry.MoveAliasOperator(
            task_id="mark_staging", alias="staging", version=CANDIDATE.version, why="golden requests reproduced"
        )
        claim_staging >> deploy_staging >> check_parity >> mark_staging

    with TaskGroup("ab_test", tooltip="A share of users for 24 h of event time") as ab_test:
        choose_comparison = verdicts.ExperimentBranchOperator(
            task_id="choose_comparison",
            production_digest=of("prepare.plan_inputs", "production_digest"),
            compare="ab_test.start_routing",
            first="ab_test.first_model",
        )
        first_model = EmptyOperator(task_id="first_model")
        start_routing = experiment_routing.StartRoutingOperator(
            task_id="start_routing", experiment=f"ab-{RUN_KEY}", package_digest=CANDIDATE.package_digest
        )
        await_verdict = AwaitExperimentVerdictOperator(
            task_id="await_verdict", experiment_id=of("ab_test.start_routing", "experiment_id")
        )
        stop_routing = experiment_routing.StopRoutingOperator(task_id="stop_routing", experiment=f"ab-{RUN_KEY}")
        experiment_decision = verdicts.VerdictBranchOperator(
            task_id="experiment_decision",
            verdict=of("ab_test.await_verdict", "verdict"),
            branches={
                "promote": "approval.collect_evidence",
                **dict.fromkeys(("reject", "extend", "invalid"), "ab_test.not_promoted"),
            },
        )
        not_promoted = EmptyOperator(task_id="not_promoted")
        choose_comparison >> [first_model, start_routing]
        start_routing >> await_verdict >> stop_routing >> experiment_decision >> not_promoted
        await_verdict >> experiment_decision

    approval = promotion.approval(SETTINGS, CANDIDATE, prefix=f"{RUN}approval/")
    production = promotion.production(SETTINGS, CANDIDATE, f"{RUN}approval/", approval)

    remove_staging = endpoint.RemoveStagingOperator(task_id="remove_staging")
    report = ReportRunOperator(task_id="report", key=f"{RUN}report.json", trigger_rule="none_failed")

    prepare >> train >> judged.evaluate_candidate
    judged.gate_decision >> register >> staging >> choose_comparison
    [first_model, experiment_decision] >> approval.collect_evidence
    approval.approve_promotion >> production.check_approval
    stop_routing.as_teardown(setups=[claim_staging, start_routing])
    ends = [judged.rejected, not_promoted, production.move_aliases, production.restore_production]
    [mark_staging, *ends] >> remove_staging
    remove_staging.as_teardown(setups=claim_staging)
    [*ends, remove_staging] >> report
