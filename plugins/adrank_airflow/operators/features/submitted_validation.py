"""The expectations on feature partitions, where the Spark connection says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adrank.contracts.settings import Settings
from adrank_airflow.operators.features import validation
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator


class SubmitValidationOperator(validation.RangeValidation, SparkSubmitStepOperator):
    """Run Great Expectations on every group's partitions of a range of hours, with spark-submit.

    :param start: first hour (ISO); templated.
    :param end: end of the last hour (ISO); templated.
    """

    template_fields: Sequence[str] = (*SparkSubmitStepOperator.template_fields, "start", "end")

    def __init__(self, *, settings: Settings, start: str, end: str, **kwargs: Any) -> None:
        self.start = start
        self.end = end
        super().__init__(
            settings=settings,
            entry_point=validation.ENTRY_POINT,
            arguments=validation.arguments(settings, start, end),
            **kwargs,
        )
