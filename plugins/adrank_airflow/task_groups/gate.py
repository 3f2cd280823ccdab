"""The gate: candidate and production measured on the same frozen slice, then a verdict with reasons."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TaskGroup

from adrank.contracts.settings import Settings
from adrank_airflow.dag_defaults import AS_OF
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator
from adrank_airflow.operators.verdicts import JudgeCandidateOperator, VerdictBranchOperator
from adrank_airflow.xcom import of


class Gate(NamedTuple):
    """The gate group: where it is entered, its decision, and where a reject ends."""

    evaluate_candidate: BaseOperator
    gate_decision: BaseOperator
    rejected: BaseOperator


def gate(settings: Settings, run: str) -> Gate:
    """Evidence under the run's prefix, the verdict on it, and the way that it sends the run."""
    with TaskGroup("gate", tooltip="Candidate against production on the same frozen slice"):
        evaluate_candidate = SageMakerProcessingJobOperator(
            task_id="evaluate_candidate",
            settings=settings,
            job="evaluate",
            as_of=AS_OF,
            entrypoint="training.evaluate",
            arguments=[
                *settings.evaluation_arguments(),
                f"--candidate-digest={of('train.train_model', 'package_digest')}",
                f"--production-digest={of('prepare.plan_inputs', 'production_digest')}",
            ],
            inputs={
                "training_set": f"s3://{settings.lake.bucket}/{run}training_set/",
                "candidate": of("train.train_model", "model_data_url"),
                "production": of("prepare.plan_inputs", "production_model"),
            },
            outputs={"evidence": f"{run}evidence/"},
        )
        judge_candidate = JudgeCandidateOperator(
            task_id="judge_candidate", settings=settings, evidence_prefix=f"{run}evidence/"
        )
        gate_decision = VerdictBranchOperator(
            task_id="gate_decision",
            verdict=of("gate.judge_candidate", "verdict"),
            branches={"pass": "register.register_package", "reject": "gate.rejected"},
        )
        rejected = EmptyOperator(task_id="rejected")
        evaluate_candidate >> judge_candidate >> gate_decision >> rejected
    return Gate(evaluate_candidate, gate_decision, rejected)
