"""One spark-submit as one EMR step, however often the task is retried."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow.providers.amazon.aws.links.emr import EmrClusterLink, EmrLogsLink, get_log_uri
from airflow.sdk import BaseOperatorLink

from adrank.contracts.settings import Settings
from adrank_airflow import links
from adrank_airflow.errors import DeadlineError, JobFailedError
from adrank_airflow.operators.jobs import spark_command
from adrank_airflow.operators.jobs.entry_point import EntryPointTask
from adrank_airflow.operators.jobs.spark_command import STEP_NAME

if TYPE_CHECKING:
    from airflow.sdk import Context

CONSOLE_LINKS: Final = (EmrClusterLink(), EmrLogsLink())


class EmrSparkStepOperator(EntryPointTask):
    """Run a published Spark entry point on the shared cluster and wait for it off the worker.

    A step is recognised by its name, which holds DAG, task, run and, where tasks are mapped over them, hours: a retry
    attaches to the step that an earlier try left and that has not ended, even when the worker died before it could note
    the step's id. So there is never more than one live step of a name. Killing the task cancels the step. When the step
    fails, its own last log lines are in the task log. A step that ends well ends its task in the triggerer, where
    Airflow makes no event of an outlet: outlets belong to a task behind it.

    Where the program takes leases (:mod:`adrank.storage.leases`), their owner is the step's name: who submits a step
    under the name of an earlier one knows that one dead, and need not wait for what it held.

    :param hours: ``start`` and ``end`` (ISO) to hand over as ``--start`` and ``--end``, and ``groups``, each as
        ``--group``: what a task may be mapped over.
    """

    returns = ("cluster_id", "step_id")
    operator_extra_links: Collection[BaseOperatorLink] = CONSOLE_LINKS
    template_fields: Sequence[str] = ("hours", "arguments", "step_name")
    ui_color = "#f6e3c5"

    def __init__(
        self,
        *,
        settings: Settings,
        hours: Mapping[str, Any] | None = None,
        step_name: str = STEP_NAME,
        **kwargs: Any,
    ) -> None:
        super().__init__(settings=settings, pool=kwargs.pop("pool", settings.airflow.emr_pool), **kwargs)
        self.hours = hours
        self.step_name = step_name
        self._step: tuple[str, str] | None = None

    def command(self) -> list[str]:
        """The step's spark-submit command line."""
        code = self.settings.lake
        script = spark_command.entry_point_uri(code, self.entry_point)
        known_now = spark_command.range_arguments(self.entry_point, self.hours, self.step_name)
        return ["spark-submit", "--py-files", spark_command.py_files(code), script, *self.arguments, *known_now]

    def execute(self, context: Context) -> None:
        """Attach to the live step of this name, or submit it; then defer."""
        hook = self.emr_steps
        cluster_id = hook.find_cluster(self.settings.emr.cluster_name)
        step_id = hook.live_step(cluster_id, self.step_name)
        if step_id is None:
            self.before_submit(context)
            step_id = hook.submit(cluster_id, self.step_name, self.command())
            self.log.info("Submitted step %s on %s: %s", step_id, cluster_id, " ".join(self.command()))
        else:
            self.log.info("Attached to step %s on %s, which an earlier try submitted", step_id, cluster_id)
        self._step = (cluster_id, step_id)
        logs = get_log_uri(emr_client=hook.conn, job_flow_id=cluster_id)
        links.persist(CONSOLE_LINKS, context, self, hook, job_flow_id=cluster_id, log_uri=logs)
        ids = {"cluster_id": cluster_id, "step_id": step_id}
        created = hook.describe(cluster_id, step_id)["Status"]["Timeline"]["CreationDateTime"]
        reference = {"ClusterId": cluster_id, "StepId": step_id}
        self.defer_until_job("emr_step", reference, created, result=ids, **ids)

    def before_submit(self, context: Context) -> None:
        """What has to be done before there is a step of this name again."""

    def finish(self, context: Context, event: dict[str, Any], cluster_id: str, step_id: str) -> dict[str, str]:
        """Return the step's ids, or fail with the reason and the step's own log."""
        status = event["status"]
        if status == "deadline":
            self.emr_steps.cancel(cluster_id, step_id)
            raise DeadlineError(f"step {step_id} did not end within {self.settings.emr.step_timeout}; it was cancelled")
        if status == "FAILED":
            self._defer_until_log(cluster_id, step_id)
        if status != "COMPLETED":
            self.fail_with_log(context, event, cluster_id, step_id)
        return {"cluster_id": cluster_id, "step_id": step_id}

    def _defer_until_log(self, cluster_id: str, step_id: str) -> None:
        """Defer while the step's log is on its nodes: EMR ships it some minutes after the step has ended."""
        missing = self.emr_steps.missing_log_key(cluster_id, step_id)
        if missing is None:
            return
        bucket, key = missing
        timeline = self.emr_steps.describe(cluster_id, step_id)["Status"]["Timeline"]
        self.defer_until_keys(
            [key],
            timeline.get("EndDateTime", datetime.now(UTC)) + self.settings.emr.log_timeout,
            bucket=bucket,
            method_name="fail_with_log",
            cluster_id=cluster_id,
            step_id=step_id,
        )

    def fail_with_log(self, context: Context, event: dict[str, Any], cluster_id: str, step_id: str) -> NoReturn:
        """Fail with the step's own log lines, as far as they have been shipped, and EMR's reason."""
        del context, event
        for line in self.emr_steps.log_tail(cluster_id, step_id):
            self.log.error("%s", line)
        status = self.emr_steps.describe(cluster_id, step_id)["Status"]
        details = status.get("FailureDetails", {})
        raise JobFailedError(
            f"step {step_id} on {cluster_id} ended {status['State']}: "
            f"{details.get('Message') or details.get('Reason') or 'no reason given'}"
        )

    def on_kill(self) -> None:
        """Cancel the step when the task is killed before it deferred."""
        if self._step is not None:
            self.emr_steps.cancel(*self._step)
