"""An hour's features as one EMR step, and what came of each of its parts as a task of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from adrank.contracts import lake
from adrank.contracts.entry_points.features import HourlyFeatures
from adrank.contracts.manifests import FeatureRun
from adrank.contracts.settings import Settings
from adrank_airflow.base import MomentTask
from adrank_airflow.operators.features.validation import DataDocsMixin
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class HourlyFeaturesOperator(MomentTask, EmrSparkStepOperator):
    """Compute, validate, push and audit the features of one hour in one Spark application.

    The step keeps a report of its parts in the lake (:class:`adrank.contracts.manifests.FeatureRun`). A retry attaches
    to a step that lives, else it submits another, which does what is missing.
    """

    template_fields: Sequence[str] = (*EmrSparkStepOperator.template_fields, *MomentTask.template_fields)

    def __init__(self, *, settings: Settings, at: str, **kwargs: Any) -> None:
        lookback = settings.events.allowed_lateness / timedelta(hours=1)
        super().__init__(
            settings=settings,
            at=at,
            entry_point=HourlyFeatures,
            values={"hour": at, "run": "{{ run_id }}", "late_lookback_hours": f"{lookback:g}"},
            **kwargs,
        )

    def before_submit(self, context: Context) -> None:
        """Withdraw what an earlier step reported: of a step that never began, nothing is to be believed."""
        key = lake.feature_run(self.moment, context["run_id"])
        if (body := self.lake.find(key)) is not None:
            before = FeatureRun.model_validate_json(body)
            self.lake.write_json(key, before.model_copy(update={"parts": ()}).model_dump(mode="json"))


class FeaturePartOperator(MomentTask):
    """Succeed, fail or be skipped as the part of the hour's application that is called like this task.

    Does no work: whoever wants the part done again clears the step.
    """

    ui_color = "#e4edf7"

    def __init__(self, **kwargs: Any) -> None:
        # A part may have done its work although the step failed.
        super().__init__(**{"trigger_rule": "all_done", **kwargs})

    def execute(self, context: Context) -> str:
        """Return what the part did, in one line."""
        key = lake.feature_run(self.moment, context["run_id"])
        body = self.lake.find(key)
        parts = () if body is None else FeatureRun.model_validate_json(body).parts
        outcome = next((part for part in parts if part.name == self.task_id), None)
        if outcome is None:
            raise AirflowFailException(f"the step ended before {self.task_id} did; its own task says why")
        # Reading it again would change nothing: no retry.
        if outcome.state == "failed":
            raise AirflowFailException(outcome.detail)
        if outcome.state == "skipped":
            raise AirflowSkipException(outcome.detail)
        self.log.info("%s, in %.1f s", outcome.detail, outcome.seconds)
        return outcome.detail


class ValidationPartOperator(DataDocsMixin, FeaturePartOperator):
    """The validation of the hour, with a link to what it found."""

    @property
    def last_hour(self) -> datetime:
        """The hour."""
        return self.moment
