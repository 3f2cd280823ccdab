"""From the lake to a registered package: frozen inputs, training set, model, version."""

from __future__ import annotations

from typing import NamedTuple

from airflow.sdk import TaskGroup

from adrank.contracts import lake
from adrank.contracts.entry_points.training import BuildTrainingSet, TrainHyperparameters
from adrank.contracts.settings import Settings
from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask
from adrank_airflow.dag_defaults import AS_OF, RUN_KEY
from adrank_airflow.operators.checks import RequireConsistencyOperator
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator, SageMakerTrainingJobOperator
from adrank_airflow.operators.training.inputs import PlanTrainingInputsOperator
from adrank_airflow.operators.training.model_registry import RegisterPackageOperator
from adrank_airflow.sensors.lake import FeaturesReadySensor


class Training(NamedTuple):
    """The groups before the gate, what was planned and what was trained."""

    prepare: TaskGroup
    plan_inputs: AdrankTask
    train: TaskGroup
    train_model: AdrankTask


def training(settings: Settings, run: str) -> Training:
    """A point-in-time training set of consistent features, and a model of it, under the prefix of the run (its key)."""
    with TaskGroup("prepare", tooltip="A point-in-time training set") as prepare:
        wait_for_features = FeaturesReadySensor(task_id="wait_for_features", as_of=AS_OF)
        require_consistency = RequireConsistencyOperator(task_id="require_consistency", as_of=AS_OF)
        plan_inputs = PlanTrainingInputsOperator(task_id="plan_inputs", as_of=AS_OF)
        build_training_set = SageMakerProcessingJobOperator(
            task_id="build_training_set",
            job="training-set",
            as_of=AS_OF,
            entry_point=BuildTrainingSet,
            values={"as_of": AS_OF},
            inputs={name: xcom.field(plan_inputs, name) for name in ("events", "features", "ads", "billing")},
            outputs={"training_set": lake.training_set(run)},
        )
        wait_for_features >> require_consistency >> plan_inputs >> build_training_set

    with TaskGroup("train", tooltip="LightGBM lambdarank, logged to MLflow") as train:
        train_model = SageMakerTrainingJobOperator(
            task_id="train_model",
            job="train",
            as_of=AS_OF,
            hyperparameters=TrainHyperparameters.from_settings(settings),
            training_set=lake.training_set(run),
            output_prefix=lake.trained_models(run),
        )
    return Training(prepare, plan_inputs, train, train_model)


class Registration(NamedTuple):
    """The register group and its task."""

    group: TaskGroup
    register_package: AdrankTask


def registration(train_model: AdrankTask, judge_candidate: AdrankTask) -> Registration:
    """A version of the trained package that names the gate's verdict."""
    with TaskGroup("register", tooltip="MLflow version and alias") as register:
        register_package = RegisterPackageOperator(
            task_id="register_package",
            trained=train_model.output,
            tags={"run_key": RUN_KEY, "gate": xcom.field(judge_candidate, "key"), "dag_run": "{{ run_id }}"},
        )
    return Registration(register, register_package)
