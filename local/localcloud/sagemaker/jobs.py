"""Runs SageMaker processing and training jobs as child processes against the ``/opt/ml`` contract."""

from __future__ import annotations

import logging
import shutil
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

from localcloud.clock import now
from localcloud.processes.failure import last_error
from localcloud.runner import HANG, Runner
from localcloud.sagemaker import containers, images
from localcloud.sagemaker.containers import DataError
from localcloud.sagemaker.images import Image, UnknownImageError
from localcloud.storage.lake_directory import LakeDirectory, LakeError

_DEFAULT_RUNTIME: Final = 86_400
_ALONE: Final = {"current_host": "algo-1", "hosts": ["algo-1"]}
_log = logging.getLogger(__name__)


class JobType(ABC):
    """What processing and training do differently. ``job`` is moto's object of the job."""

    #: As moto's fields begin, and those of requests.
    noun: str
    #: moto's field of what to run, and its key for the URI of the container image.
    specification_field: str
    image_key: str
    #: Where the container says why it failed.
    failure_file: str

    def __init__(self) -> None:
        self.name_field, self.status_field = f"{self.noun}_job_name", f"{self.noun}_job_status"
        self.start_field, self.end_field = f"{self.noun}_start_time", f"{self.noun}_end_time"

    def name(self, job: Any) -> str:
        """The job's name."""
        return str(getattr(job, self.name_field))

    def specification(self, job: Any) -> dict[str, Any]:
        """What to run: image, entry point, arguments."""
        specification: dict[str, Any] = getattr(job, self.specification_field)
        return specification

    def default_command(self, image: Image) -> tuple[str, ...]:  # noqa: ARG002
        """What the image runs by itself."""
        return ()

    @abstractmethod
    def prepare(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Lay out the base directory and fetch the inputs."""

    @abstractmethod
    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Upload the results of a job that succeeded."""

    def set_failure(self, job: Any, message: str, status: int | None) -> None:
        """Put the reason of a failure on the job; ``message``: the container's own, or its last error."""
        job.failure_reason = f"AlgorithmError: {message or 'See job logs for more information'}, exit code: {status}"

    def set_status(self, job: Any, secondary: str, message: str) -> None:  # noqa: B027
        """A phase of the job begins."""


class Processing(JobType):
    """Processing jobs."""

    noun, failure_file = "processing", "output/message"
    specification_field, image_key = "app_specification", "ImageUri"

    def prepare(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Fetch every input to its local path, make every output's directory."""
        containers.prepare(base, "config", "output", "processing/input", "processing/output")
        request = {"ProcessingJobName": job.processing_job_name, "Environment": job.environment}
        containers.write_config(base, "config/processingjobconfig.json", request)
        containers.write_config(base, "config/resourceconfig.json", _ALONE)
        for job_input in job.processing_inputs or []:
            source = job_input["S3Input"]
            target = containers.inside(base, source["LocalPath"])
            containers.fetch(lake, source["S3Uri"], source.get("S3DataType", "S3Prefix"), target)
        for output in self._outputs(job):
            containers.inside(base, output["LocalPath"]).mkdir(parents=True, exist_ok=True)

    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Upload every output directory."""
        for output in self._outputs(job):
            lake.upload_directory(containers.inside(base, output["LocalPath"]), output["S3Uri"])
        job.exit_message = containers.text_of(base / "output/message") or None

    def set_failure(self, job: Any, message: str, status: int | None) -> None:
        """The reason, and the exit message."""
        super().set_failure(job, message, status)
        job.exit_message = message or None

    def _outputs(self, job: Any) -> list[dict[str, Any]]:
        return [output["S3Output"] for output in (job.processing_output_config or {}).get("Outputs", [])]


class Training(JobType):
    """Training jobs."""

    noun, failure_file = "training", "output/failure"
    specification_field, image_key = "algorithm_specification", "TrainingImage"

    def default_command(self, image: Image) -> tuple[str, ...]:
        """The image trains."""
        return image.train

    def prepare(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Write the hyperparameters and fetch every channel."""
        containers.prepare(base, "input/config", "input/data", "model", "output/data")
        hyperparameters = {str(key): str(value) for key, value in (job.hyper_parameters or {}).items()}
        containers.write_config(base, "input/config/hyperparameters.json", hyperparameters)
        containers.write_config(base, "input/config/resourceconfig.json", _ALONE)
        channels = {}
        for channel in job.input_data_config or []:
            source = channel["DataSource"]["S3DataSource"]
            directory = base / "input/data" / channel["ChannelName"]
            containers.fetch(lake, source["S3Uri"], source.get("S3DataType", "S3Prefix"), directory)
            channels[channel["ChannelName"]] = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        containers.write_config(base, "input/config/inputdataconfig.json", channels)

    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Pack and upload ``model.tar.gz`` and ``output.tar.gz``."""
        artifacts = job.model_artifacts["S3ModelArtifacts"]
        for source, uri in ((base / "model", artifacts), (base / "output/data", _sibling(artifacts, "output.tar.gz"))):
            archive = base / uri.rsplit("/", 1)[-1]
            if containers.pack(source, archive):
                lake.upload(archive, uri)

    def set_status(self, job: Any, secondary: str, message: str) -> None:
        """A phase of the job begins: one more secondary status transition."""
        ended = [{"EndTime": now(), **transition} for transition in job.secondary_status_transitions]
        begun = {"Status": secondary, "StartTime": now(), "StatusMessage": message}
        job.secondary_status = secondary
        job.secondary_status_transitions = [*ended, begun]


def _sibling(uri: str, name: str) -> str:
    return f"{uri.rsplit('/', 1)[0]}/{name}"


JOB_TYPES: Final[tuple[JobType, ...]] = (Processing(), Training())


class Jobs(Runner):
    """The executing back end of moto's SageMaker jobs."""

    def submit(self, job_type: JobType, job: Any) -> None:
        """Start the job. Its status is ``InProgress`` when this returns."""
        setattr(job, job_type.status_field, "InProgress")
        setattr(job, job_type.start_field, None)
        setattr(job, job_type.end_field, None)
        job_type.set_status(job, "Starting", "Starting the training job")
        outcome = self._faults.take("jobs", job_type.name(job))
        if outcome == "lose":
            self._lost.add(job.arn)
        else:
            threading.Thread(target=self._run, args=(job_type, job, outcome), daemon=True).start()
        self._changed()

    def stop(self, job_type: JobType, job: Any) -> None:
        """Stop the job; what has ended stays as it ended."""
        with self._lock:
            if getattr(job, job_type.status_field) != "InProgress":
                return
            setattr(job, job_type.status_field, "Stopping")
            self._stopped.add(job.arn)
        job_type.set_status(job, "Stopping", "Stopping the training job")
        if not self._stop(job.arn) and job.arn in self._lost:
            self._end(job_type, job, "Stopped", "Stopped", "Training job stopped")
        self._changed()

    def _run(self, job_type: JobType, job: Any, outcome: str | None) -> None:
        base = self._settings.work_dir / "sagemaker" / job.arn.rsplit(":", 1)[-1]
        shutil.rmtree(base, ignore_errors=True)
        logs = self._lake.root / self._settings.bucket / "logs/sagemaker" / job_type.name(job)
        try:
            status = self._run_container(job_type, job, outcome, base, logs)
            if job.arn in self._stopped:
                timed_out = getattr(job, job_type.status_field) == "InProgress"
                secondary = "MaxRuntimeExceeded" if timed_out else "Stopped"
                self._end(job_type, job, "Stopped", secondary, secondary)
            elif status == 0:
                job_type.set_status(job, "Uploading", "Uploading generated training model")
                job_type.publish(job, base, self._lake)
                self._end(job_type, job, "Completed", "Completed", "Training job completed")
            else:
                error_line, _ = last_error(logs / "stderr", logs / "stdout")
                job_type.set_failure(job, containers.text_of(base / job_type.failure_file) or error_line, status)
                self._end(job_type, job, "Failed", "Failed", "Training job failed")
        except (DataError, LakeError, UnknownImageError, OSError, KeyError) as error:
            job.failure_reason = f"ClientError: {error}"
            self._end(job_type, job, "Failed", "Failed", "Training job failed")
        except Exception as error:
            # A job must never stay InProgress because of this program.
            _log.exception("job %s", job_type.name(job))
            job.failure_reason = f"InternalServerError: {error!r}"
            self._end(job_type, job, "Failed", "Failed", "Training job failed")
        shutil.rmtree(base, ignore_errors=True)

    def _run_container(self, job_type: JobType, job: Any, outcome: str | None, base: Path, logs: Path) -> int | None:
        specification = job_type.specification(job)
        image = images.find(str(specification.get(job_type.image_key, "")), self._settings.images)
        job_type.set_status(job, "Downloading", "Downloading input data")
        job_type.prepare(job, base, self._lake)
        words = HANG if outcome == "hang" else containers.entry_point(specification, job_type.default_command(image))
        if outcome == "fail":
            containers.prepare(base, "output")
            (base / job_type.failure_file).write_text("fault switch: this job was told to fail", encoding="utf-8")
            return 1

        def started() -> None:
            setattr(job, job_type.start_field, now())
            job_type.set_status(job, "Training", "Training image download completed. Training in progress.")
            self._changed()

        return self._execute(
            job.arn,
            images.command(words, self._settings.python),
            cwd=image.workdir,
            environment={
                **image.environment(base),
                "TRAINING_JOB_NAME": job_type.name(job),
                **(job.environment or {}),
            },
            logs=logs,
            started=started,
            limit=(job.stopping_condition or {}).get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME),
        )

    def _end(self, job_type: JobType, job: Any, status: str, secondary: str, message: str) -> None:
        job_type.set_status(job, secondary, message)
        with self._lock:
            self._forget(job.arn)
            setattr(job, job_type.end_field, now())
            job.last_modified_time = now()
            setattr(job, job_type.status_field, status)
        self._changed()
