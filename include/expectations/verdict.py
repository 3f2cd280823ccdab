"""Validate a Spark frame and reduce Great Expectations' answer to what a manifest and a log line need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import great_expectations as gx
from great_expectations.data_context.types.base import ProgressBarsConfig
from pydantic import BaseModel, ConfigDict

from adrank.contracts.registry import FeatureGroup
from expectations.feature_suite import suite

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Finding(BaseModel):
    """One expectation's outcome; ``observed`` is what was seen where it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    expectation: str
    columns: str
    success: bool
    unexpected: int = 0
    observed: str = ""

    def __str__(self) -> str:
        return (
            f"{self.group}: {self.expectation}({self.columns}): {self.unexpected} unexpected, observed {self.observed}"
        )


def validate(rows: DataFrame, group: FeatureGroup, hour_ends: Iterable[datetime]) -> list[Finding]:
    """Every expectation of the group's suite on ``rows``, which are of the hours that end at ``hour_ends``."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_spark("lake").add_dataframe_asset(group.name)
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": rows})
    return [_finding(group.name, result) for result in batch.validate(suite(group, hour_ends)).results]


def _finding(group: str, result: Any) -> Finding:
    configuration, outcome = result.expectation_config, result.result or {}
    columns = [configuration.kwargs.get(name) for name in ("column", "column_A", "column_B", "column_list")]
    error = next(iter((result.exception_info or {}).values()), None)
    observed = outcome.get("observed_value", outcome.get("partial_unexpected_list", ""))
    if isinstance(error, dict) and error.get("raised_exception"):
        observed = error.get("exception_message", "")
    return Finding(
        group=group,
        expectation=configuration.type,
        columns=", ".join(str(name) for name in columns if name),
        success=bool(result.success),
        unexpected=int(outcome.get("unexpected_count") or 0),
        observed="" if result.success else str(observed)[:300],
    )
