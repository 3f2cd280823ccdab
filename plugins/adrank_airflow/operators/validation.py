"""The expectations on feature partitions, with a link to what they found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

from adrank.contracts import lake
from adrank.contracts.settings import Settings
from adrank_airflow.operators.emr_spark_step import EmrSparkStepOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class DataDocsLink(BaseOperatorLink):
    """Leads to the Data Docs of the run that the task belongs to."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the Data Docs' first page; empty where the task's hours were never known."""
        return operator.data_docs(ti_key.run_id) if isinstance(operator, ValidateFeaturesOperator) else ""


class ValidateFeaturesOperator(EmrSparkStepOperator):
    """Run Great Expectations on every group's partitions of a range of hours, as one EMR step.

    :param start: first hour (ISO); templated.
    :param end: end of the last hour (ISO); templated.
    :param revised_from: hours from here on that were computed are looked at too; templated.
    """

    template_fields: Sequence[str] = (*EmrSparkStepOperator.template_fields, "start", "end")
    operator_extra_links = (DataDocsLink(),)

    def __init__(
        self, *, settings: Settings, start: str, end: str, revised_from: str | None = None, **kwargs: Any
    ) -> None:
        self.start = start
        self.end = end
        revised = ["--revised-from", revised_from] if revised_from else []
        arguments = ["--start", start, "--end", end, *revised, "--run", "{{ run_id }}"]
        super().__init__(
            settings=settings,
            entry_point="validate_features.py",
            arguments=[*arguments, *settings.expectations.arguments()],
            **kwargs,
        )

    def data_docs(self, run_id: str) -> str:
        """Where people read what a run found; to be asked once the hours are known."""
        *_, last = lake.hours(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))
        return self.settings.browse(f"{lake.data_docs(last, run_id)}index.html")
