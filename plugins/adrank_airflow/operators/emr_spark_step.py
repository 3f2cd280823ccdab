"""One spark-submit as one EMR step, however often the task is retried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from adrank.contracts import lake
from adrank.contracts.settings import Settings
from adrank_airflow import deadlines
from adrank_airflow.errors import DeadlineError, JobFailedError
from adrank_airflow.hooks.emr_steps import DEAD_STEP, EmrStepsHook
from adrank_airflow.triggers.aws_work import AwsWorkTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class EmrSparkStepOperator(BaseOperator):
    """Run a published Spark entry point on the shared cluster and wait for it off the worker.

    A step is recognised by its name, which holds DAG, task and run: a retry attaches to the step that an earlier try
    left pending or running, even when the worker died before it could note the step's id. Killing the task cancels
    the step. When the step fails, its own last log lines are in the task log.

    :param entry_point: file under ``<code prefix>/spark/``.
    :param arguments: its command line; templated.
    :param sql: a query under ``<code prefix>/sql/`` to hand over as ``--sql``.
    """

    template_fields: Sequence[str] = ("arguments", "step_name")
    ui_color = "#f6e3c5"

    def __init__(
        self,
        *,
        settings: Settings,
        entry_point: str,
        arguments: Sequence[str],
        sql: str | None = None,
        step_name: str = "{{ dag.dag_id }}.{{ task.task_id }} {{ run_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool=kwargs.pop("pool", settings.tenancy.emr_pool), **kwargs)
        self.settings = settings
        self.entry_point = entry_point
        self.arguments = list(arguments)
        self.sql = sql
        self.step_name = step_name
        self._step: tuple[str, str] | None = None

    @property
    def hook(self) -> EmrStepsHook:
        """Steps of the shared cluster."""
        return EmrStepsHook(aws_conn_id=self.settings.tenancy.aws_conn_id, region_name=self.settings.region)

    def command(self) -> list[str]:
        """The step's spark-submit command line."""
        bucket, code = self.settings.lake.bucket, self.settings.lake.code_prefix
        library = lake.uri(bucket, f"{code}/adrank.zip")
        query = ["--sql", lake.uri(bucket, f"{code}/sql/{self.sql}")] if self.sql else []
        script = lake.uri(bucket, f"{code}/spark/{self.entry_point}")
        return ["spark-submit", "--py-files", library, script, "--bucket", bucket, *self.arguments, *query]

    def execute(self, context: Context) -> None:
        """Attach to the live step of this name, or submit it; then defer."""
        del context
        hook, emr = self.hook, self.settings.emr
        cluster_id = hook.find_cluster(emr.cluster_name)
        step_id = hook.live_step(cluster_id, self.step_name)
        if step_id is None:
            step_id = hook.submit(cluster_id, self.step_name, self.command())
            self.log.info("Submitted step %s on %s: %s", step_id, cluster_id, " ".join(self.command()))
        else:
            self.log.info("Attached to step %s on %s, which an earlier try submitted", step_id, cluster_id)
        self._step = (cluster_id, step_id)
        created = hook.describe(cluster_id, step_id)["Status"]["Timeline"]["CreationDateTime"]
        self.defer(
            trigger=AwsWorkTrigger(
                kind="emr_step",
                reference={"ClusterId": cluster_id, "StepId": step_id},
                deadline=deadlines.after(created, emr.step_timeout).isoformat(),
                poll_seconds=emr.poll_seconds,
                settle_seconds=self.settings.tenancy.settle_seconds,
                aws_conn_id=self.settings.tenancy.aws_conn_id,
                region_name=self.settings.region,
            ),
            method_name="finish",
            kwargs={"cluster_id": cluster_id, "step_id": step_id},
        )

    def finish(self, context: Context, event: dict[str, Any], cluster_id: str, step_id: str) -> dict[str, str]:
        """Return the step's ids, or fail with the reason and the step's own log."""
        del context
        hook, status = self.hook, event["status"]
        if status == "deadline":
            hook.cancel(cluster_id, step_id)
            raise DeadlineError(f"step {step_id} did not end within {self.settings.emr.step_timeout}; it was cancelled")
        if status in DEAD_STEP:
            for line in hook.log_tail(cluster_id, step_id):
                self.log.error("%s", line)
            details = hook.describe(cluster_id, step_id)["Status"].get("FailureDetails", {})
            raise JobFailedError(
                f"step {step_id} on {cluster_id} ended {status}: "
                f"{details.get('Message') or details.get('Reason') or 'no reason given'}"
            )
        return {"cluster_id": cluster_id, "step_id": step_id}

    def on_kill(self) -> None:
        """Cancel the step when the task is killed before it deferred."""
        if self._step is not None:
            self.hook.cancel(*self._step)
