"""What the operators and sensors of this repository share: settings, the hooks made from them, and how they wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk import BaseOperator

from adrank.contracts.settings import Settings
from adrank_airflow.hooks.emr_steps import EmrStepsHook
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.hooks.experiments import ExperimentsHook
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.hooks.sagemaker_jobs import SageMakerJobsHook
from adrank_airflow.triggers.aws_resource import AwsResourceTrigger, ResourceKind
from adrank_airflow.triggers.lake_keys import LakeKeysTrigger


class AdrankTask(BaseOperator):
    """A task of this repository; joined with another kind of operator, it stands before that one.

    :param settings: the DAG's ``default_args`` give them.
    """

    #: Fields of what the task returns that others may refer to (:func:`adrank_airflow.xcom.field`).
    returns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    @cached_property
    def lake(self) -> LakeHook:
        """The lake's bucket."""
        return LakeHook(self.settings.lake.bucket, AwsBaseHook(client_type="s3", **self._aws).conn)

    @cached_property
    def emr_steps(self) -> EmrStepsHook:
        """Steps of the shared cluster."""
        return EmrStepsHook(**self._aws)

    @cached_property
    def sagemaker_jobs(self) -> SageMakerJobsHook:
        """Jobs by base name."""
        return SageMakerJobsHook(**self._aws)

    @cached_property
    def endpoints(self) -> EndpointsHook:
        """Endpoints of the account."""
        return EndpointsHook(**self._aws)

    @cached_property
    def experiments(self) -> ExperimentsHook:
        """The experiments table."""
        return ExperimentsHook(self.settings.online.experiments_table, **self._aws)

    @cached_property
    def model_registry(self) -> ModelRegistryHook:
        """The ranking model in MLflow."""
        return ModelRegistryHook(self.settings.training.registered_model, self.settings.airflow.mlflow_conn_id)

    def defer_until_job(
        self,
        kind: ResourceKind,
        reference: dict[str, str],
        began: datetime,
        *,
        method_name: str = "finish",
        result: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> NoReturn:
        """Defer until AWS has ended what ``reference`` names, at most its timeout from when AWS says that it ``began``.

        :param result: what the task returns when all is well, which then ends it without a worker.
        :param kwargs: handed to the method.
        """
        emr, sagemaker = self.settings.emr, self.settings.sagemaker
        timeout = {"emr_step": emr.step_timeout, "endpoint": self.settings.rollout.timeout}.get(
            kind, sagemaker.job_timeout
        )
        poll_seconds = emr.poll_seconds if kind == "emr_step" else sagemaker.poll_seconds
        trigger = AwsResourceTrigger(kind, reference, result, **self._waiting(began + timeout, poll_seconds))
        self.defer(trigger=trigger, method_name=method_name, kwargs=kwargs)

    def defer_until_keys(
        self,
        keys: Sequence[str],
        deadline: datetime,
        *,
        bucket: str | None = None,
        poll_seconds: float | None = None,
        method_name: str = "finish",
        **kwargs: Any,
    ) -> NoReturn:
        """Defer until the lake, or another bucket, holds ``keys``, at most until ``deadline``.

        :param kwargs: handed to the method.
        """
        waiting = self._waiting(deadline, poll_seconds or self.settings.emr.poll_seconds)
        trigger = LakeKeysTrigger(bucket or self.settings.lake.bucket, list(keys), **waiting)
        self.defer(trigger=trigger, method_name=method_name, kwargs=kwargs)

    def _waiting(self, deadline: datetime, poll_seconds: float) -> dict[str, Any]:
        return {
            "deadline": deadline.isoformat(),
            "poll_seconds": poll_seconds,
            "min_defer_seconds": self.settings.airflow.min_defer_seconds,
            **self._aws,
        }

    @property
    def _aws(self) -> dict[str, str]:
        return {"aws_conn_id": self.settings.airflow.aws_conn_id, "region_name": self.settings.region}


class MomentTask(AdrankTask):
    """A task about one hour, one day, or what there was at one time.

    :param at: that time (ISO), or the start of the hour or day; templated.
    """

    template_fields: Sequence[str] = ("at",)

    def __init__(self, *, at: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.at = at

    @property
    def moment(self) -> datetime:
        """``at``, once it is rendered."""
        return datetime.fromisoformat(self.at)
