"""SageMaker processing and training jobs, submitted once however often the task is retried."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperatorLink

from adrank.contracts import lake
from adrank.contracts.sagemaker_requests import processing_request, training_request
from adrank.contracts.settings import Settings
from adrank_airflow import links
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import DeadlineError, JobFailedError
from adrank_airflow.hooks.sagemaker_jobs import JobKind, failure_reason, name_field
from adrank_airflow.operators.jobs.entry_point import EntryPointTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerJobTask(AdrankTask):
    """Has jobs done by SageMaker, each submitted once."""

    operator_extra_links: Collection[BaseOperatorLink] = links.SAGEMAKER_JOB_LINKS
    _job: tuple[JobKind, str] | None = None

    def defer_until_done(
        self,
        context: Context,
        kind: JobKind,
        base: str,
        request: Callable[[str], dict[str, Any]],
        *,
        method_name: str = "finish",
        **kwargs: Any,
    ) -> NoReturn:
        """Attach to the live job of this base name, or submit the next; then defer.

        :param kwargs: handed to the method, with the job's ``name``.
        """
        hook = self.sagemaker_jobs
        name = hook.attach_or_submit(kind, base, request)
        self._job = (kind, name)
        links.persist(links.SAGEMAKER_JOB_LINKS, context, self, hook, job_kind=kind, job_name=name)
        created = hook.describe(kind, name)["CreationTime"]
        self.defer_until_job(kind, {name_field(kind): name}, created, method_name=method_name, name=name, **kwargs)

    def on_kill(self) -> None:
        """Stop the job when the task is killed before it deferred."""
        if self._job is not None:
            self.sagemaker_jobs.stop(*self._job)


class _SageMakerJobOperator(SageMakerJobTask):
    kind: ClassVar[JobKind]
    ui_color = "#d5e8e4"

    def __init__(self, *, settings: Settings, job: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(settings=settings, pool=kwargs.pop("pool", settings.airflow.sagemaker_pool), **kwargs)
        self.job = job
        self.as_of = as_of

    @property
    def base_name(self) -> str:
        """What all tries of this job share: its purpose and the run's ``as_of``."""
        return f"adrank-{self.job}-{lake.run_key(datetime.fromisoformat(self.as_of))}"

    @abstractmethod
    def request(self, name: str) -> dict[str, Any]:
        """The create call's arguments."""

    @abstractmethod
    def outcome(self, description: dict[str, Any]) -> dict[str, Any]:
        """What goes to XCom of a finished job."""

    def execute(self, context: Context) -> None:
        """Have the job done."""
        self.defer_until_done(context, self.kind, self.base_name, self.request)

    def finish(self, context: Context, event: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the job's outcome, or fail with the job's own reason."""
        del context
        if event["status"] == "deadline":
            self.sagemaker_jobs.stop(self.kind, name)
            raise DeadlineError(f"job {name} did not end within {self.settings.sagemaker.job_timeout}; it was stopped")
        description = self.sagemaker_jobs.describe(self.kind, name)
        if event["status"] != "Completed":
            raise JobFailedError(f"{self.kind} job {name} ended {event['status']}: {failure_reason(description)}")
        return self.outcome(description)

    def _tags(self) -> dict[str, str]:
        return {"adrank:dag": self.dag_id, "adrank:task": self.task_id}


class SageMakerProcessingJobOperator(EntryPointTask, _SageMakerJobOperator):
    """Run one of the training image's modules as a processing job.

    :param inputs: name -> URI; a ``.manifest`` is an exact list of files, anything else a prefix. An input whose URI
        renders empty is left out.
    :param outputs: name -> key prefix in the lake.
    """

    kind: ClassVar[JobKind] = "processing"
    returns = ("job_name",)
    template_fields: Sequence[str] = ("as_of", "arguments", "inputs", "outputs")

    def __init__(
        self,
        *,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    def request(self, name: str) -> dict[str, Any]:
        """The CreateProcessingJob arguments."""
        return processing_request(
            self.settings, name, self.entry_point.program, self.arguments, self.inputs, self.outputs, self._tags()
        )

    def outcome(self, description: dict[str, Any]) -> dict[str, Any]:
        """The job's name and where its outputs lie."""
        return {"job_name": description["ProcessingJobName"], **self.outputs}


class SageMakerTrainingJobOperator(_SageMakerJobOperator):
    """Run the training module on a training set that lies in the lake.

    :param hyperparameters: as the training module names them; templated.
    :param training_set: key prefix of the ``training_set`` channel; templated.
    :param output_prefix: key prefix under which ``<job>/output/model.tar.gz`` will lie; templated.
    """

    kind: ClassVar[JobKind] = "training"
    returns = (
        "job_name",
        "model_data_url",
        "mlflow_run_id",
        "package_digest",
        "ndcg_at_10",
        "logged_order_ndcg_at_10",
        "train_rows",
        "queries",
    )
    template_fields: Sequence[str] = ("as_of", "hyperparameters", "training_set", "output_prefix")

    def __init__(
        self, *, hyperparameters: Mapping[str, object], training_set: str, output_prefix: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hyperparameters = {key: str(value) for key, value in hyperparameters.items()}
        self.training_set = training_set
        self.output_prefix = output_prefix

    def request(self, name: str) -> dict[str, Any]:
        """The CreateTrainingJob arguments."""
        return training_request(
            self.settings, name, self.hyperparameters, self.training_set, self.output_prefix, self._tags()
        )

    def outcome(self, description: dict[str, Any]) -> dict[str, Any]:
        """Ids, digest and the headline figures of the trained package."""
        job = {
            "job_name": description["TrainingJobName"],
            "model_data_url": description["ModelArtifacts"]["S3ModelArtifacts"],
        }
        result = self.sagemaker_jobs.training_result(description)
        return job | {key: result[key] for key in self.returns if key not in job}
