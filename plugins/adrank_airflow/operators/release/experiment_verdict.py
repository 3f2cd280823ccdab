"""Watch a running experiment on the log's own clock until it has a verdict.

At every look the raw hours so far are measured by a processing job, the numbers are judged by
:func:`adrank.decisions.experiment.judge`, and both are stored. Between looks and while jobs run, the task is
deferred. Looks are numbered files in the lake, so a retry goes on where an earlier try stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from adrank.contracts import lake, timestamps
from adrank.contracts.entry_points.training import MeasureExperiment
from adrank.contracts.experiments import Experiment
from adrank.contracts.sagemaker_requests import processing_request
from adrank.decisions import experiment as decision
from adrank_airflow.errors import JobFailedError, NoInputError
from adrank_airflow.hooks.sagemaker_jobs import failure_reason
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerJobTask
from adrank_airflow.triggers.polling import run_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context


class AwaitExperimentVerdictOperator(SageMakerJobTask):
    """Look every ``look_interval`` of event time; ``promote`` not before ``duration``, ``extend`` until the last date.

    :param experiment_id: templated.
    """

    returns = ("verdict", "reasons", "looks", "users", "key")
    template_fields: Sequence[str] = ("experiment_id",)
    ui_color = "#f3dbdb"

    def __init__(self, *, experiment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment_id = experiment_id

    def execute(self, context: Context) -> Any:
        """Go on at the first look that has no stored verdict."""
        look = 1
        while (body := self.lake.find(self._key(look, "verdict.json"))) is not None:
            stored = json.loads(body)
            if stored["ended"]:
                return self._outcome(look, stored)
            look += 1
        self._defer_until_closed(context, look)

    def measure(self, context: Context, event: dict[str, Any], look: int) -> Any:
        """The hours of the look are closed: have them measured."""
        if event["status"] == "deadline":
            return self._end_without_look(look - 1, "the wall-clock cap passed before the log did")
        experiment = self._experiment
        base = f"adrank-look-{self.experiment_id[-32:]}-{look:03d}"
        measurement = partial(self._measurement, experiment, look)
        self.defer_until_done(context, "processing", base, measurement, method_name="judge", look=look)

    def _measurement(self, experiment: Experiment, look: int, name: str) -> dict[str, Any]:
        """The job that measures a look, from an exact list of the files that it may read."""
        store, end = self.lake, self._look_end(experiment, look)
        manifests = store.raw_manifests(experiment.start, end)
        files = [lake.RAW_EVENTS.hour(m.hour) + file.name for m in manifests for file in m.files]
        inputs = {"events": store.write_input_manifest(self._key(look, "events.manifest"), files)}
        billing = store.billing_files(experiment.start, end)
        if billing:
            inputs["billing"] = store.write_input_manifest(self._key(look, "billing.manifest"), billing)
        arguments = MeasureExperiment.command_line(
            experiment=experiment,
            start=experiment.start,
            end=end,
            **MeasureExperiment.from_settings(self.settings),
        )
        outputs = {"look": self._key(look, "")}
        return processing_request(self.settings, name, MeasureExperiment.program, arguments, inputs, outputs, tags={})

    def judge(self, context: Context, event: dict[str, Any], look: int, name: str) -> Any:
        """The look is measured: judge it, keep the judgement, and end or wait for the next."""
        if event["status"] != "Completed":
            reason = failure_reason(self.sagemaker_jobs.describe("processing", name))
            raise JobFailedError(f"look {look} of {self.experiment_id}: job {name} ended {event['status']}: {reason}")
        plan, elapsed = self.settings.experiment, look * self.settings.experiment.look_interval
        statistics = decision.ExperimentStatistics.model_validate(self.lake.read_json(self._key(look, "look.json")))
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
        self.lake.write_json(self._key(look, "verdict.json"), stored)
        for reason in verdict.reasons:
            self.log.info("look %d, %s: %s: %s", look, elapsed, verdict.verdict, reason)
        if stored["ended"]:
            return self._outcome(look, stored)
        self._defer_until_closed(context, look + 1)

    def _defer_until_closed(self, context: Context, look: int) -> NoReturn:
        experiment, plan = self._experiment, self.settings.experiment
        hours = timestamps.hours(experiment.start, self._look_end(experiment, look))
        self.defer_until_keys(
            [lake.RAW_EVENTS.manifest(hour) for hour in hours],
            run_deadline(context, plan.wall_clock_timeout),
            poll_seconds=plan.poll_seconds,
            method_name="measure",
            look=look,
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
            stored = self.lake.read_json(self._key(looks, "verdict.json"))
            return {**self._outcome(looks, stored), "verdict": "extend", "reasons": [reason]}
        users = {"control": 0, "treatment": 0}
        return {"verdict": "extend", "reasons": [reason], "looks": 0, "users": users, "key": ""}

    def _look_end(self, experiment: Experiment, look: int) -> datetime:
        return experiment.start + look * self.settings.experiment.look_interval

    def _key(self, look: int, name: str) -> str:
        return f"{lake.experiment_look(self.experiment_id, look)}{name}"

    @property
    def _experiment(self) -> Experiment:
        settings = self.settings
        everything = self.experiments.of_endpoint(settings.sagemaker.production_endpoint)
        experiment = next((e for e in everything if e.experiment_id == self.experiment_id), None)
        if experiment is None:
            raise NoInputError(f"no experiment {self.experiment_id} in table {settings.online.experiments_table}")
        return experiment
