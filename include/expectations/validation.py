"""One run of Great Expectations over feature groups: findings, its own results, and its Data Docs.

Expectations are first only answered, which takes a pass over the rows. What failed is asked again for the values and
the rows that failed it.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig

from adrank.contracts.base import FrozenModel
from adrank.contracts.registry import FeatureGroup
from expectations import feature_suite, hour_suite
from expectations.count_only import type_name, with_unexpected_rows
from expectations.hour_suite import HourRowCounts, RowRatioBounds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_MAX_EXAMPLES: Final = 5
#: Characters of what was seen that are shown.
_MAX_SHOWN: Final = 300
_SITE: Final = "lake"


class ExpectationOutcome(FrozenModel):
    """``observed`` is what was seen where the expectation failed: values, and the rows that have them."""

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


class ValidationRun:
    """Collects the outcome of every batch that it was given."""

    def __init__(self, run: str, moment: datetime, docs: Path) -> None:
        """``run`` and ``moment`` name what is found; ``docs`` is an empty folder for the Data Docs."""
        self._run = RunIdentifier(run_name=run, run_time=moment)
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._context.add_data_docs_site(_SITE, _site(docs))
        # One pass needs no copy of the rows in memory.
        self._rows = self._context.data_sources.add_spark("lake", persist=False)
        self._hours = self._context.data_sources.add_pandas("hours")
        self._results: list[Any] = []
        self.findings: list[ExpectationOutcome] = []

    def rows(self, rows: DataFrame, group: FeatureGroup) -> None:
        """Inspect a group's rows as they were written."""
        named_by = ["entity_id", "feature_time"]
        self._inspect(
            group.name, self._rows, feature_suite.with_lag_column(rows, group), feature_suite.suite(group), named_by
        )

    def hours(self, rows: DataFrame, group: FeatureGroup, counts: HourRowCounts, bounds: RowRatioBounds) -> None:
        """Inspect each hour of the rows beside what manifests say of it."""
        expected, named_by = hour_suite.suite(group.name, counts, bounds), list(hour_suite.NAMED_BY)
        self._inspect(group.name, self._hours, hour_suite.hour_frame(rows, counts, bounds), expected, named_by)

    def results(self) -> str:
        """Everything that Great Expectations says, as JSON."""
        return json.dumps([result.to_json_dict() for result in self._results], indent=2)

    def build_docs(self) -> None:
        """Write the Data Docs to their folder."""
        self._context.build_data_docs(site_names=[_SITE])

    def _inspect(self, group: str, source: Any, frame: Any, expected: gx.ExpectationSuite, named_by: list[str]) -> None:
        batch = source.add_dataframe_asset(expected.name).add_batch_definition_whole_dataframe(expected.name)
        answered = self._validate(batch, frame, expected, "BASIC")
        failed = [result.expectation_config for result in answered.results if not result.success]
        explained: dict[str, ExpectationOutcome] = {}
        if failed:
            failures = gx.ExpectationSuite(
                name=f"{expected.name}_failures",
                expectations=[with_unexpected_rows(each) for each in failed],
            )
            detailed = {
                "result_format": "SUMMARY",
                "partial_unexpected_count": _MAX_EXAMPLES,
                "unexpected_index_column_names": named_by,
            }
            for result in self._validate(batch, frame, failures, detailed).results:
                explained[_key(result)] = outcome_of(group, result)
        self.findings += [explained.get(_key(r)) or outcome_of(group, r) for r in answered.results]

    def _validate(self, batch: Any, frame: Any, expected: gx.ExpectationSuite, result_format: Any) -> Any:
        definition = gx.ValidationDefinition(name=expected.name, data=batch, suite=self._context.suites.add(expected))
        result = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame}, result_format=result_format, run_id=self._run
        )
        self._results.append(result)
        return result


def _key(result: Any) -> str:
    configuration = result.expectation_config
    return f"{type_name(configuration.type)} {columns(configuration)}"


def _site(docs: Path) -> Any:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def outcome_of(group: str, result: Any) -> ExpectationOutcome:
    """Reduce one of Great Expectations' results."""
    configuration, outcome = result.expectation_config, result.result or {}
    return ExpectationOutcome(
        group=group,
        expectation=type_name(configuration.type),
        columns=columns(configuration),
        success=bool(result.success),
        unexpected=int(outcome.get("unexpected_count") or 0),
        observed="" if result.success else _observed(result, outcome)[:_MAX_SHOWN],
    )


def columns(configuration: Any) -> str:
    """The columns that an expectation is about."""
    arguments = configuration.kwargs
    named = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return ", ".join([*named, *arguments.get("column_list", ())])


def _observed(result: Any, outcome: dict[str, Any]) -> str:
    errors = result.exception_info or {}
    for error in (errors, *errors.values()):
        if isinstance(error, dict) and error.get("raised_exception"):
            return str(error.get("exception_message", ""))
    if rows := outcome.get("partial_unexpected_index_list"):
        return "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)
    return str(outcome.get("observed_value", outcome.get("partial_unexpected_list", "")))
