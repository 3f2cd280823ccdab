"""The Spark work of a step on any target that spark-submit reaches, through the Spark provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook

from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.settings import Settings
from adrank_airflow.operators.jobs import spark_command
from adrank_airflow.operators.jobs.entry_point import EntryPointTask
from adrank_airflow.operators.jobs.spark_command import STEP_NAME

if TYPE_CHECKING:
    from airflow.sdk import Context

_RESOURCE_MANAGER: Final = "yarn_resourcemanager_webapp_address"


class SparkSubmitStepOperator(EntryPointTask, SparkSubmitOperator):
    """Run a published Spark entry point where the Spark connection says, with the command line of an EMR step.

    Master and deploy mode are the connection's; how Spark reaches ``s3://`` there is the target's own configuration.
    In client mode the task waits for the driver on the worker and killing it kills the driver; in cluster mode a retry
    finds the driver that an earlier try left, where the provider can (on YARN it needs the ResourceManager's address in
    the connection).

    Where the program takes leases (:mod:`adrank.storage.leases`), their owner is a name of this try alone: a worker
    that dies may leave a driver running, and a retry has to wait for what that one holds.

    :param hours: ``start`` and ``end`` (ISO) to hand over as ``--start`` and ``--end``, and ``groups``, each as
        ``--group``: what a task may be mapped over.
    """

    template_fields: Sequence[str] = ("hours", "arguments", "name", "conf", "env_vars")
    ui_color = "#f6e3c5"

    def __init__(
        self,
        *,
        settings: Settings,
        entry_point: type[EntryPointArguments],
        hours: Mapping[str, Any] | None = None,
        name: str = STEP_NAME,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            settings=settings,
            entry_point=entry_point,
            application=spark_command.entry_point_uri(settings.lake, entry_point),
            py_files=spark_command.py_files(settings.lake),
            conn_id=settings.airflow.spark_conn_id,
            name=name,
            pool=kwargs.pop("pool", settings.airflow.emr_pool),
            execution_timeout=kwargs.pop("execution_timeout", settings.emr.step_timeout),
            **kwargs,
        )
        self.hours = hours

    def execute(self, context: Context) -> None:
        """Submit, and wait for the end."""
        # The provider would go to YARN where the connection is missing.
        connection = BaseHook.get_connection(self.settings.airflow.spark_conn_id)
        extra = connection.extra_dejson
        if "yarn" in (connection.conn_type, connection.host) and extra.get("deploy-mode") == "cluster":
            self._yarn_track_via_rm_api = self.durable = _RESOURCE_MANAGER in extra
        owner = f"{self.name} try {context['ti'].try_number}"
        known_now = spark_command.range_arguments(self.entry_point, self.hours, owner)
        self.application_args = [*self.arguments, *known_now]
        super().execute(context)
