"""Watch a running experiment on the log's own clock until it has a verdict.

At every look the raw hours so far are measured by a processing job, the numbers are judged by
:func:`adrank.decisions.experiment.judge`, and both are stored. Between looks and while jobs run, the task is
deferred. Looks are numbered files in the lake, so a retry goes on where an earlier try stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from adrank.contracts import lake, timestamps
from adrank.contracts.experiments import Experiment
from adrank.contracts.settings import Settings
from adrank.decisions import experiment as decision
from adrank_airflow.errors import JobFailedError, NoInputError
from adrank_airflow.hooks.experiments import ExperimentsHook
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.sagemaker_jobs import SageMakerJobsHook
from adrank_airflow.operators.jobs.sagemaker_job import processing_request
from adrank_airflow.triggers.aws_resource import AwsResourceTrigger
from adrank_airflow.triggers.lake_keys import LakeKeysTrigger
from adrank_airflow.triggers.polling import run_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context


class AwaitExperimentVerdictOperator(BaseOperator):
    """Look every ``look_interval`` of event time; ``promote`` not before ``duration``, ``extend`` until the last date.

    :param experiment_id: templated.
    """

    template_fields: Sequence[str] = ("experiment_id",)
    ui_color = "#f3dbdb"

    def __init__(self, *, settings: Settings, experiment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.experiment_id = experiment_id

    def execute(self, context: Context) -> Any:
        """Go on at the first look that has no stored verdict."""
        look = 1
        while self._lake.exists(self._key(look, "verdict.json")):
            stored = self._lake.read_json(self._key(look, "verdict.json"))
            if stored["ended"]:
                return self._outcome(look, stored)
            look += 1
        self._wait_for_hours(context, look)

    def measure(self, context: Context, event: dict[str, Any], look: int) -> Any:
        """The hours of the look are closed: have them measured."""
        del context
        if event["status"] == "deadline":
            return self._end_without_look(look - 1, "the wall-clock cap passed before the log did")
        experiment, jobs = self._experiment, self._jobs
        base = f"adrank-look-{self.experiment_id[-32:]}-{look:03d}"
        name = jobs.live_job("processing", base)
        if name is None:
            name = jobs.next_name("processing", base)
            end = self._look_end(experiment, look)
            manifests = self._lake.raw_manifests(experiment.start, end)
            files = [lake.raw_events(m.hour) + file.name for m in manifests for file in m.files]
            inputs = {"events": self._lake.write_input_manifest(self._key(look, "events.manifest"), files)}
            billing = self._lake.billing_files(experiment.start, end)
            if billing:
                inputs["billing"] = self._lake.write_input_manifest(self._key(look, "billing.manifest"), billing)
            arguments = ["--experiment", experiment.model_dump_json()]
            arguments += ["--start", experiment.start.isoformat(), "--end", end.isoformat()]
            arguments += self.settings.billing.revenue_arguments()
            outputs = {"look": self._key(look, "")}
            module = "training.measure_experiment"
            jobs.submit("processing", processing_request(self.settings, name, module, arguments, inputs, outputs))
        created = jobs.describe("processing", name)["CreationTime"]
        self.defer(
            trigger=AwsResourceTrigger(
                kind="processing",
                reference={"ProcessingJobName": name},
                deadline=(created + self.settings.sagemaker.job_timeout).isoformat(),
                poll_seconds=self.settings.sagemaker.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=self.settings.airflow.aws_conn_id,
                region_name=self.settings.region,
            ),
            method_name="judge",
            kwargs={"look": look, "name": name},
        )

    def judge(self, context: Context, event: dict[str, Any], look: int, name: str) -> Any:
        """The look is measured: judge it, keep the judgement, and end or wait for the next."""
        if event["status"] != "Completed":
            description = self._jobs.describe("processing", name)
            reason = description.get("FailureReason") or description.get("ExitMessage") or "no reason given"
            raise JobFailedError(f"look {look} of {self.experiment_id}: job {name} ended {event['status']}: {reason}")
        plan, elapsed = self.settings.experiment, look * self.settings.experiment.look_interval
        statistics = decision.ExperimentStatistics.model_validate(self._lake.read_json(self._key(look, "look.json")))
        final = elapsed >= plan.max_duration
        verdict = decision.judge(statistics, plan, elapsed, final)
        stored = {
            "look": look,
            "elapsed_hours": elapsed / timedelta(hours=1),
            "ended": final or verdict.verdict != "extend",
            "verdict": verdict.model_dump(mode="json"),
            "statistics": statistics.model_dump(mode="json"),
            "settings": plan.model_dump(mode="json"),
        }
        self._lake.write_json(self._key(look, "verdict.json"), stored)
        for reason in verdict.reasons:
            self.log.info("look %d, %s: %s: %s", look, elapsed, verdict.verdict, reason)
        if stored["ended"]:
            return self._outcome(look, stored)
        self._wait_for_hours(context, look + 1)

    def _wait_for_hours(self, context: Context, look: int) -> NoReturn:
        experiment, settings = self._experiment, self.settings
        hours = timestamps.hours(experiment.start, self._look_end(experiment, look))
        self.defer(
            trigger=LakeKeysTrigger(
                bucket=settings.lake.bucket,
                keys=[lake.raw_events_manifest(hour) for hour in hours],
                deadline=run_deadline(context, settings.experiment.wall_clock_timeout).isoformat(),
                poll_seconds=settings.experiment.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=settings.airflow.aws_conn_id,
                region_name=settings.region,
            ),
            method_name="measure",
            kwargs={"look": look},
        )

    def _outcome(self, look: int, stored: dict[str, Any]) -> dict[str, Any]:
        verdict, variants = stored["verdict"], stored["statistics"]["variants"]
        return {
            "verdict": verdict["verdict"],
            "reasons": list(verdict["reasons"]),
            "looks": look,
            "users": {name: variants[name]["users"] for name in ("control", "treatment")},
            "key": self._key(look, "verdict.json"),
        }

    def _end_without_look(self, looks: int, reason: str) -> dict[str, Any]:
        self.log.warning("%s: %s", self.experiment_id, reason)
        if looks:
            stored = self._lake.read_json(self._key(looks, "verdict.json"))
            return {**self._outcome(looks, stored), "verdict": "extend", "reasons": [reason]}
        users = {"control": 0, "treatment": 0}
        return {"verdict": "extend", "reasons": [reason], "looks": 0, "users": users, "key": ""}

    def _look_end(self, experiment: Experiment, look: int) -> datetime:
        return experiment.start + look * self.settings.experiment.look_interval

    def _key(self, look: int, name: str) -> str:
        return f"{lake.experiment(self.experiment_id)}look={look:03d}/{name}"

    @property
    def _experiment(self) -> Experiment:
        settings = self.settings
        hook = ExperimentsHook(settings.online.experiments_table, settings.airflow.aws_conn_id, settings.region)
        experiment = hook.get(settings.sagemaker.production_endpoint, self.experiment_id)
        if experiment is None:
            raise NoInputError(f"no experiment {self.experiment_id} in table {settings.online.experiments_table}")
        return experiment

    @property
    def _lake(self) -> LakeHook:
        return LakeHook(self.settings.lake.bucket, self.settings.airflow.aws_conn_id, self.settings.region)

    @property
    def _jobs(self) -> SageMakerJobsHook:
        return SageMakerJobsHook(aws_conn_id=self.settings.airflow.aws_conn_id, region_name=self.settings.region)
