"""One spark-submit as one EMR step, however often the task is retried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from adrank.contracts.settings import Settings
from adrank_airflow.errors import DeadlineError, JobFailedError
from adrank_airflow.hooks.emr_steps import DEAD_STEP, EmrStepsHook
from adrank_airflow.operators.jobs import spark_command
from adrank_airflow.operators.jobs.spark_command import STEP_NAME
from adrank_airflow.triggers.aws_resource import AwsResourceTrigger
from adrank_airflow.triggers.lake_keys import LakeKeysTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class EmrSparkStepOperator(BaseOperator):
    """Run a published Spark entry point on the shared cluster and wait for it off the worker.

    A step is recognised by its name, which holds DAG, task, run and, where tasks are mapped over them, hours: a retry
    attaches to the step that an earlier try left and that has not ended, even when the worker died before it could note
    the step's id. So there is never more than one live step of a name. Killing the task cancels the step. When the step
    fails, its own last log lines are in the task log. A step that ends well ends its task in the triggerer, where
    Airflow makes no event of an outlet: outlets belong to a task behind it.

    :param entry_point: file under ``<code prefix>/spark/``.
    :param arguments: its command line; templated.
    :param hours: ``start`` and ``end`` (ISO) to hand over as ``--start`` and ``--end``, and ``groups``, each as
        ``--group``: what a task may be mapped over.
    :param queries: whether to hand over, as ``--queries``, where the published SQL is.
    :param leased: whether the work takes leases (:mod:`adrank.storage.leases`); ``--owner`` is then the step's name:
        who submits a step under the name of an earlier one knows that one dead, and need not wait for what it held.
    """

    template_fields: Sequence[str] = ("hours", "arguments", "step_name")
    ui_color = "#f6e3c5"

    def __init__(
        self,
        *,
        settings: Settings,
        entry_point: str,
        arguments: Sequence[str],
        hours: Mapping[str, Any] | None = None,
        queries: bool = False,
        leased: bool = False,
        step_name: str = STEP_NAME,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool=kwargs.pop("pool", settings.airflow.emr_pool), **kwargs)
        self.settings = settings
        self.entry_point = entry_point
        self.arguments = list(arguments)
        self.hours = hours
        self.queries = queries
        self.leased = leased
        self.step_name = step_name
        self._step: tuple[str, str] | None = None

    @property
    def hook(self) -> EmrStepsHook:
        """Steps of the shared cluster."""
        return EmrStepsHook(aws_conn_id=self.settings.airflow.aws_conn_id, region_name=self.settings.region)

    def command(self) -> list[str]:
        """The step's spark-submit command line."""
        code = self.settings.lake
        script = spark_command.application(code, self.entry_point)
        owner = self.step_name if self.leased else None
        given = spark_command.arguments(code, self.arguments, self.hours, self.queries, owner)
        return ["spark-submit", "--py-files", spark_command.library(code), script, *given]

    def execute(self, context: Context) -> None:
        """Attach to the live step of this name, or submit it; then defer."""
        hook, emr = self.hook, self.settings.emr
        cluster_id = hook.find_cluster(emr.cluster_name)
        step_id = hook.live_step(cluster_id, self.step_name)
        if step_id is None:
            self.before_submit(context)
            step_id = hook.submit(cluster_id, self.step_name, self.command())
            self.log.info("Submitted step %s on %s: %s", step_id, cluster_id, " ".join(self.command()))
        else:
            self.log.info("Attached to step %s on %s, which an earlier try submitted", step_id, cluster_id)
        self._step = (cluster_id, step_id)
        ids = {"cluster_id": cluster_id, "step_id": step_id}
        created = hook.describe(cluster_id, step_id)["Status"]["Timeline"]["CreationDateTime"]
        self.defer(
            trigger=AwsResourceTrigger(
                kind="emr_step",
                reference={"ClusterId": cluster_id, "StepId": step_id},
                result=ids,
                deadline=(created + emr.step_timeout).isoformat(),
                poll_seconds=emr.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=self.settings.airflow.aws_conn_id,
                region_name=self.settings.region,
            ),
            method_name="finish",
            kwargs=ids,
        )

    def before_submit(self, context: Context) -> None:
        """What has to be done before there is a step of this name again."""

    def finish(self, context: Context, event: dict[str, Any], cluster_id: str, step_id: str) -> dict[str, str]:
        """Return the step's ids, or fail with the reason and the step's own log."""
        hook, status = self.hook, event["status"]
        if status == "deadline":
            hook.cancel(cluster_id, step_id)
            raise DeadlineError(f"step {step_id} did not end within {self.settings.emr.step_timeout}; it was cancelled")
        if status == "FAILED":
            self._wait_for_log(cluster_id, step_id)
        if status in DEAD_STEP:
            self.explain(context, event, cluster_id, step_id)
        return {"cluster_id": cluster_id, "step_id": step_id}

    def _wait_for_log(self, cluster_id: str, step_id: str) -> None:
        """Defer while the step's log is on its nodes: EMR ships it some minutes after the step has ended."""
        place = self.hook.missing_log_key(cluster_id, step_id)
        if place is None:
            return
        settings = self.settings
        ended = self.hook.describe(cluster_id, step_id)["Status"]["Timeline"].get("EndDateTime", datetime.now(UTC))
        self.defer(
            trigger=LakeKeysTrigger(
                bucket=place[0],
                keys=[place[1]],
                deadline=(ended + settings.emr.log_timeout).isoformat(),
                poll_seconds=settings.emr.poll_seconds,
                min_defer_seconds=settings.airflow.min_defer_seconds,
                aws_conn_id=settings.airflow.aws_conn_id,
                region_name=settings.region,
            ),
            method_name="explain",
            kwargs={"cluster_id": cluster_id, "step_id": step_id},
        )

    def explain(self, context: Context, event: dict[str, Any], cluster_id: str, step_id: str) -> NoReturn:
        """Fail with the step's own log lines, as far as they have been shipped, and EMR's reason."""
        del context, event
        for line in self.hook.log_tail(cluster_id, step_id):
            self.log.error("%s", line)
        status = self.hook.describe(cluster_id, step_id)["Status"]
        details = status.get("FailureDetails", {})
        raise JobFailedError(
            f"step {step_id} on {cluster_id} ended {status['State']}: "
            f"{details.get('Message') or details.get('Reason') or 'no reason given'}"
        )

    def on_kill(self) -> None:
        """Cancel the step when the task is killed before it deferred."""
        if self._step is not None:
            self.hook.cancel(*self._step)
