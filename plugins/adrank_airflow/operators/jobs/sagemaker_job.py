"""SageMaker processing and training jobs, submitted once however often the task is retried."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from adrank.contracts import lake
from adrank.contracts.settings import Settings
from adrank_airflow.errors import DeadlineError, JobFailedError
from adrank_airflow.hooks.sagemaker_jobs import JobKind, SageMakerJobsHook
from adrank_airflow.triggers.aws_resource import AwsResourceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class _SageMakerJobOperator(BaseOperator):
    kind: ClassVar[JobKind]
    ui_color = "#d5e8e4"

    def __init__(self, *, settings: Settings, job: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(pool=kwargs.pop("pool", settings.airflow.sagemaker_pool), **kwargs)
        self.settings = settings
        self.job = job
        self.as_of = as_of
        self._submitted: str | None = None

    @property
    def hook(self) -> SageMakerJobsHook:
        """Jobs by base name."""
        return SageMakerJobsHook(aws_conn_id=self.settings.airflow.aws_conn_id, region_name=self.settings.region)

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
        """Attach to the live job of this base name, or submit the next; then defer."""
        del context
        hook = self.hook
        name = hook.live_job(self.kind, self.base_name)
        if name is None:
            name = hook.next_name(self.kind, self.base_name)
            hook.submit(self.kind, self.request(name))
            self.log.info("Submitted %s job %s", self.kind, name)
        else:
            self.log.info("Attached to %s job %s, which an earlier try submitted", self.kind, name)
        self._submitted = name
        created = hook.describe(self.kind, name)["CreationTime"]
        self.defer(
            trigger=AwsResourceTrigger(
                kind=self.kind,
                reference={"ProcessingJobName" if self.kind == "processing" else "TrainingJobName": name},
                deadline=(created + self.settings.sagemaker.job_timeout).isoformat(),
                poll_seconds=self.settings.sagemaker.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=self.settings.airflow.aws_conn_id,
                region_name=self.settings.region,
            ),
            method_name="finish",
            kwargs={"name": name},
        )

    def finish(self, context: Context, event: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the job's outcome, or fail with the job's own reason."""
        del context
        hook = self.hook
        if event["status"] == "deadline":
            hook.stop(self.kind, name)
            raise DeadlineError(f"job {name} did not end within {self.settings.sagemaker.job_timeout}; it was stopped")
        description = hook.describe(self.kind, name)
        if event["status"] != "Completed":
            reason = description.get("FailureReason") or description.get("ExitMessage") or "no reason given"
            raise JobFailedError(f"{self.kind} job {name} ended {event['status']}: {reason}")
        return self.outcome(description)

    def on_kill(self) -> None:
        """Stop the job when the task is killed before it deferred."""
        if self._submitted is not None:
            self.hook.stop(self.kind, self._submitted)

    def _tags(self) -> list[dict[str, str]]:
        return [{"Key": "adrank:dag", "Value": self.dag_id}, {"Key": "adrank:task", "Value": self.task_id}]

    def _stopping(self) -> dict[str, int]:
        return {"MaxRuntimeInSeconds": int(self.settings.sagemaker.job_timeout.total_seconds())}


class SageMakerProcessingJobOperator(_SageMakerJobOperator):
    """Run one of the training image's modules as a processing job.

    :param entrypoint: module to run.
    :param arguments: its command line; templated.
    :param inputs: name -> URI; a ``.manifest`` is an exact list of files, anything else a prefix. An input whose URI
        renders empty is left out.
    :param outputs: name -> key prefix in the lake.
    """

    kind: ClassVar[JobKind] = "processing"
    template_fields: Sequence[str] = ("as_of", "arguments", "inputs", "outputs")

    def __init__(
        self,
        *,
        entrypoint: str,
        arguments: Sequence[str],
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.entrypoint = entrypoint
        self.arguments = list(arguments)
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    def request(self, name: str) -> dict[str, Any]:
        """The CreateProcessingJob arguments."""
        return processing_request(
            self.settings, name, self.entrypoint, self.arguments, self.inputs, self.outputs, self._tags()
        )

    def outcome(self, description: dict[str, Any]) -> dict[str, Any]:
        """The job's name and where its outputs lie."""
        return {"job_name": description["ProcessingJobName"], **self.outputs}


def processing_request(
    settings: Settings,
    name: str,
    entrypoint: str,
    arguments: Sequence[str],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    tags: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """CreateProcessingJob arguments for a module of the training image."""
    sagemaker, base = settings.sagemaker, "/opt/ml/processing"
    return {
        "ProcessingJobName": name,
        "RoleArn": sagemaker.role_arn,
        "AppSpecification": {
            "ImageUri": sagemaker.training_image,
            "ContainerEntrypoint": ["python", "-m", entrypoint],
            **({"ContainerArguments": list(arguments)} if arguments else {}),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": sagemaker.processing_instance,
                "VolumeSizeInGB": 100,
            }
        },
        "ProcessingInputs": [
            {
                "InputName": key,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": f"{base}/input/{key}",
                    "S3DataType": "ManifestFile" if uri.endswith(".manifest") else "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for key, uri in inputs.items()
            if uri
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": key,
                    "S3Output": {
                        "S3Uri": lake.uri(settings.lake.bucket, prefix),
                        "LocalPath": f"{base}/output/{key}",
                        "S3UploadMode": "EndOfJob",
                    },
                }
                for key, prefix in outputs.items()
            ]
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": int(sagemaker.job_timeout.total_seconds())},
        "Environment": {"AWS_REGION": settings.region},
        "Tags": list(tags),
    }


class SageMakerTrainingJobOperator(_SageMakerJobOperator):
    """Run the training module on a training set that lies in the lake.

    :param hyperparameters: as the training module names them; templated.
    :param training_set: key prefix of the ``training_set`` channel; templated.
    :param output_prefix: key prefix under which ``<job>/output/model.tar.gz`` will lie; templated.
    """

    kind: ClassVar[JobKind] = "training"
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
        settings = self.settings
        return {
            "TrainingJobName": name,
            "RoleArn": settings.sagemaker.role_arn,
            "AlgorithmSpecification": {
                "TrainingImage": settings.sagemaker.training_image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python", "-m", "training.train"],
            },
            "HyperParameters": {**self.hyperparameters, "run_name": name},
            "InputDataConfig": [
                {
                    "ChannelName": "training_set",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": lake.uri(settings.lake.bucket, self.training_set),
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
            ],
            "OutputDataConfig": {"S3OutputPath": lake.uri(settings.lake.bucket, self.output_prefix.rstrip("/"))},
            "ResourceConfig": {
                "InstanceCount": 1,
                "InstanceType": settings.sagemaker.training_instance,
                "VolumeSizeInGB": 100,
            },
            "StoppingCondition": self._stopping(),
            "Environment": {"MLFLOW_TRACKING_URI": settings.training.mlflow_tracking_uri},
            "Tags": self._tags(),
        }

    def outcome(self, description: dict[str, Any]) -> dict[str, Any]:
        """Ids, digest and the headline figures of the trained package."""
        result = self.hook.training_result(description)
        return {
            "job_name": description["TrainingJobName"],
            "model_data_url": description["ModelArtifacts"]["S3ModelArtifacts"],
            "mlflow_run_id": result["mlflow_run_id"],
            "package_digest": result["package_digest"],
            "ndcg_at_10": result["ndcg_at_10"],
            "logged_order_ndcg_at_10": result["logged_order_ndcg_at_10"],
            "train_rows": result["train_rows"],
            "queries": result["queries"],
        }
