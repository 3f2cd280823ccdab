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

from adrank.contracts.registry import FeatureGroup
from expectations import feature_suite, hour_suite
from expectations.count_only import plain, with_examples
from expectations.day_before import HourRowCounts, RowRatioBounds
from expectations.finding import ExpectationOutcome, columns, finding

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EXAMPLES: Final = 5
_SITE: Final = "lake"


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
        self._inspect(group.name, self._rows, feature_suite.examined(rows, group), feature_suite.suite(group), named_by)

    def hours(self, rows: DataFrame, group: FeatureGroup, told: HourRowCounts, bounds: RowRatioBounds) -> None:
        """Inspect each hour of the rows beside what manifests tell of it."""
        expected, named_by = hour_suite.suite(group.name, told, bounds), list(hour_suite.NAMED_BY)
        self._inspect(group.name, self._hours, hour_suite.facts(rows, told, bounds), expected, named_by)

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
            asked = gx.ExpectationSuite(
                name=f"{expected.name}_failures", expectations=[with_examples(told) for told in failed]
            )
            detailed = {
                "result_format": "SUMMARY",
                "partial_unexpected_count": _EXAMPLES,
                "unexpected_index_column_names": named_by,
            }
            for result in self._validate(batch, frame, asked, detailed).results:
                explained[_question(result)] = finding(group, result)
        self.findings += [explained.get(_question(r)) or finding(group, r) for r in answered.results]

    def _validate(self, batch: Any, frame: Any, expected: gx.ExpectationSuite, result_format: Any) -> Any:
        definition = gx.ValidationDefinition(name=expected.name, data=batch, suite=self._context.suites.add(expected))
        result = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame}, result_format=result_format, run_id=self._run
        )
        self._results.append(result)
        return result


def _question(result: Any) -> str:
    told = result.expectation_config
    return f"{plain(told.type)} {columns(told)}"


def _site(docs: Path) -> Any:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
