"""The gate: candidate and production measured on the same frozen slice, then a verdict with reasons."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TaskGroup

from adrank.contracts import lake
from adrank.contracts.entry_points.training import Evaluate
from adrank.contracts.settings import Settings
from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask
from adrank_airflow.dag_defaults import AS_OF
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator
from adrank_airflow.operators.verdicts import JudgeCandidateOperator, VerdictBranchOperator


class Gate(NamedTuple):
    """The gate group: where it is entered, its verdict, its decision, and where a reject ends."""

    evaluate_candidate: BaseOperator
    judge_candidate: AdrankTask
    gate_decision: VerdictBranchOperator
    rejected: BaseOperator


def gate(settings: Settings, run: str, plan_inputs: AdrankTask, train_model: AdrankTask) -> Gate:
    """Evidence under the prefix of the run (its key), the verdict on it, and the way that it sends the run.

    The decision has yet to be told what to follow on ``pass``.
    """
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
                "training_set": lake.uri(settings.lake.bucket, lake.training_set(run)),
                "candidate": xcom.field(train_model, "model_data_url"),
                "production": xcom.field(plan_inputs, "production_model"),
            },
            outputs={"evidence": lake.gate_evidence(run)},
        )
        judge_candidate = JudgeCandidateOperator(task_id="judge_candidate", evidence_prefix=lake.gate_evidence(run))
        gate_decision = VerdictBranchOperator(task_id="gate_decision", verdict=xcom.field(judge_candidate, "verdict"))
        rejected = EmptyOperator(task_id="rejected")
        gate_decision.follow(rejected, "reject")
        evaluate_candidate >> judge_candidate >> gate_decision >> rejected
    return Gate(evaluate_candidate, judge_candidate, gate_decision, rejected)
