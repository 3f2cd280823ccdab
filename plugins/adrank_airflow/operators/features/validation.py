"""The expectations on feature partitions, with a link to what they found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

from adrank.contracts import lake, timestamps
from adrank.contracts.entry_points.features import ValidateFeatures
from adrank.contracts.settings import Settings
from adrank_airflow.base import AdrankTask
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class DataDocsLink(BaseOperatorLink):
    """Leads to the Data Docs of the run that the task belongs to."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the Data Docs' first page; empty where the task's hours were never known."""
        return operator.data_docs(ti_key.run_id) if isinstance(operator, DataDocsMixin) else ""


class DataDocsMixin:
    """What a validation has wherever it runs."""

    operator_extra_links: Collection[BaseOperatorLink] = (DataDocsLink(),)
    settings: Settings

    @property
    @abstractmethod
    def last_hour(self) -> datetime:
        """The last hour that is looked at; to be asked once the hours are known."""

    def data_docs(self, run_id: str) -> str:
        """Where people read what a run found."""
        return self.settings.browse(f"{lake.data_docs(self.last_hour, run_id)}index.html")


class _RangeValidationOperator(DataDocsMixin, AdrankTask):
    """Run Great Expectations on every group's partitions of a range of hours, by the Spark operator joined with it.

    :param start: first hour (ISO); templated.
    :param end: end of the last hour (ISO); templated.
    """

    def __init__(self, *, settings: Settings, start: str, end: str, **kwargs: Any) -> None:
        super().__init__(
            settings=settings,
            entry_point=ValidateFeatures,
            values={"start": start, "end": end, "run": "{{ run_id }}"},
            **kwargs,
        )
        self.start = start
        self.end = end

    @property
    def last_hour(self) -> datetime:
        """The last hour of the range."""
        *_, last = timestamps.hours(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))
        return last


class ValidateFeaturesOperator(_RangeValidationOperator, EmrSparkStepOperator):
    """The validation of a range of hours as one EMR step."""

    operator_extra_links = (*DataDocsMixin.operator_extra_links, *EmrSparkStepOperator.operator_extra_links)
    template_fields: Sequence[str] = (*EmrSparkStepOperator.template_fields, "start", "end")


class SubmitValidationOperator(_RangeValidationOperator, SparkSubmitStepOperator):
    """The validation of a range of hours, where the Spark connection says."""

    template_fields: Sequence[str] = (*SparkSubmitStepOperator.template_fields, "start", "end")
