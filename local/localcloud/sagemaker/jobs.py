"""Runs SageMaker processing and training jobs as child processes against the ``/opt/ml`` contract."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from localcloud.faults.armed import Faults
from localcloud.processes.children import ChildProcess, ChildProcesses
from localcloud.processes.failure import last_error
from localcloud.sagemaker import containers, images
from localcloud.sagemaker.containers import DataError
from localcloud.sagemaker.images import Image, UnknownImageError
from localcloud.settings import LocalcloudSettings
from localcloud.storage.lake_directory import LakeDirectory, LakeError

_DEFAULT_RUNTIME: Final = 86_400
_HANG: Final = ("sleep", "infinity")
_ALONE: Final = {"current_host": "algo-1", "hosts": ["algo-1"]}
_log = logging.getLogger(__name__)


def now() -> datetime:
    """The present, naive UTC as moto keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class JobType(ABC):
    """What processing and training do differently. ``job`` is moto's object of the job."""

    status_field: str
    start_field: str
    end_field: str

    @abstractmethod
    def name(self, job: Any) -> str:
        """The job's name."""

    @abstractmethod
    def image(self, job: Any) -> str:
        """URI of the container image."""

    @abstractmethod
    def prepare(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Lay out the base directory and fetch the inputs."""

    @abstractmethod
    def command(self, job: Any, image: Image) -> tuple[str, ...]:
        """The container's command."""

    @abstractmethod
    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Upload the results of a job that succeeded."""

    @abstractmethod
    def set_failure(self, job: Any, base: Path, error_line: str, status: int) -> None:
        """Put the reason of a failure on the job; ``error_line`` is the last error on its standard error."""

    def set_status(self, job: Any, secondary: str, message: str) -> None:  # noqa: B027
        """A phase of the job begins."""


class Processing(JobType):
    """Processing jobs."""

    status_field, start_field, end_field = "processing_job_status", "processing_start_time", "processing_end_time"

    def name(self, job: Any) -> str:
        """The job's name."""
        return str(job.processing_job_name)

    def image(self, job: Any) -> str:
        """URI of the container image."""
        return str(job.app_specification["ImageUri"])

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

    def command(self, job: Any, image: Image) -> tuple[str, ...]:  # noqa: ARG002
        """The container's command; processing has no default one."""
        return containers.entry_point(job.app_specification, ())

    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Upload every output directory."""
        for output in self._outputs(job):
            lake.upload_directory(containers.inside(base, output["LocalPath"]), output["S3Uri"])
        job.exit_message = containers.text_of(base / "output/message") or None

    def set_failure(self, job: Any, base: Path, error_line: str, status: int) -> None:
        """The message file, else the last error."""
        message = containers.text_of(base / "output/message") or error_line
        job.failure_reason = f"AlgorithmError: {message or 'See job logs for more information'}, exit code: {status}"
        job.exit_message = message or None

    def _outputs(self, job: Any) -> list[dict[str, Any]]:
        return [output["S3Output"] for output in (job.processing_output_config or {}).get("Outputs", [])]


class Training(JobType):
    """Training jobs."""

    status_field, start_field, end_field = "training_job_status", "training_start_time", "training_end_time"

    def name(self, job: Any) -> str:
        """The job's name."""
        return str(job.training_job_name)

    def image(self, job: Any) -> str:
        """URI of the container image."""
        return str(job.algorithm_specification.get("TrainingImage", ""))

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

    def command(self, job: Any, image: Image) -> tuple[str, ...]:
        """The container's command."""
        return containers.entry_point(job.algorithm_specification, image.train)

    def publish(self, job: Any, base: Path, lake: LakeDirectory) -> None:
        """Pack and upload ``model.tar.gz`` and ``output.tar.gz``."""
        artifacts = job.model_artifacts["S3ModelArtifacts"]
        for source, uri in ((base / "model", artifacts), (base / "output/data", _sibling(artifacts, "output.tar.gz"))):
            archive = base / uri.rsplit("/", 1)[-1]
            if containers.pack(source, archive):
                lake.upload(archive, uri)

    def set_failure(self, job: Any, base: Path, error_line: str, status: int) -> None:
        """The failure file, else the last error."""
        message = containers.text_of(base / "output/failure") or error_line
        job.failure_reason = f"AlgorithmError: {message or 'See job logs for more information'}, exit code: {status}"

    def set_status(self, job: Any, secondary: str, message: str) -> None:
        """A phase of the job begins: one more secondary status transition."""
        ended = [{"EndTime": now(), **transition} for transition in job.secondary_status_transitions]
        begun = {"Status": secondary, "StartTime": now(), "StatusMessage": message}
        job.secondary_status = secondary
        job.secondary_status_transitions = [*ended, begun]


def _sibling(uri: str, name: str) -> str:
    return f"{uri.rsplit('/', 1)[0]}/{name}"


class Jobs:
    """The executing back end of moto's SageMaker jobs. ``changed`` is called after every change of status."""

    def __init__(
        self,
        settings: LocalcloudSettings,
        children: ChildProcesses,
        faults: Faults,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._processes = children
        self._faults = faults
        self._changed = changed
        self._lake = LakeDirectory(settings.lake_dir)
        self._lock = threading.Lock()
        self._children: dict[str, ChildProcess] = {}
        self._stopped: set[str] = set()
        self._lost: set[str] = set()

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
            child = self._children.get(job.arn)
        job_type.set_status(job, "Stopping", "Stopping the training job")
        if child is not None:
            threading.Thread(target=child.stop, args=(self._settings.stop_grace_seconds,), daemon=True).start()
        elif job.arn in self._lost:
            self._end(job_type, job, "Stopped", "Stopped", "Training job stopped")
        self._changed()

    def _run(self, job_type: JobType, job: Any, outcome: str | None) -> None:
        base = self._settings.work_dir / "sagemaker" / job.arn.rsplit(":", 1)[-1]
        shutil.rmtree(base, ignore_errors=True)
        logs = self._lake.root / self._settings.bucket / "logs/sagemaker" / job_type.name(job)
        try:
            status = self._execute(job_type, job, outcome, base, logs)
            if job.arn in self._stopped:
                timed_out = getattr(job, job_type.status_field) == "InProgress"
                secondary = "MaxRuntimeExceeded" if timed_out else "Stopped"
                self._end(job_type, job, "Stopped", secondary, secondary)
            elif status == 0:
                job_type.set_status(job, "Uploading", "Uploading generated training model")
                job_type.publish(job, base, self._lake)
                self._end(job_type, job, "Completed", "Completed", "Training job completed")
            else:
                job_type.set_failure(job, base, last_error(logs / "stderr", logs / "stdout")[0], status)
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

    def _execute(self, job_type: JobType, job: Any, outcome: str | None, base: Path, logs: Path) -> int:
        image = images.find(job_type.image(job), self._settings.images)
        job_type.set_status(job, "Downloading", "Downloading input data")
        job_type.prepare(job, base, self._lake)
        command = (
            list(_HANG) if outcome == "hang" else images.command(job_type.command(job, image), self._settings.python)
        )
        if outcome == "fail":
            containers.prepare(base, "output")
            for name in ("failure", "message"):
                (base / "output" / name).write_text("fault switch: this job was told to fail", encoding="utf-8")
            return 1
        environment = {
            **self._settings.child_environment(),
            "PYTHONPATH": os.pathsep.join(map(str, image.pythonpath)),
            "SAGEMAKER_BASE_DIR": str(base),
            "TRAINING_JOB_NAME": job_type.name(job),
            **(job.environment or {}),
        }
        with self._lock:
            if job.arn in self._stopped:
                return 1
            child = self._processes.start(
                command, cwd=image.workdir, environment=environment, stdout=logs / "stdout", stderr=logs / "stderr"
            )
            self._children[job.arn] = child
            setattr(job, job_type.start_field, now())
        job_type.set_status(job, "Training", "Training image download completed. Training in progress.")
        self._changed()
        limit = (job.stopping_condition or {}).get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME)
        try:
            status = child.wait(limit)
            if status is None:
                self._stopped.add(job.arn)
                child.stop(self._settings.stop_grace_seconds)
                status = 1
        finally:
            self._processes.forget(child)
            with self._lock:
                del self._children[job.arn]
        return status

    def _end(self, job_type: JobType, job: Any, status: str, secondary: str, message: str) -> None:
        job_type.set_status(job, secondary, message)
        with self._lock:
            self._stopped.discard(job.arn)
            self._lost.discard(job.arn)
            setattr(job, job_type.end_field, now())
            job.last_modified_time = now()
            setattr(job, job_type.status_field, status)
        self._changed()
