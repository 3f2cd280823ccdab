"""Processing job: one look at a running experiment, measured from the raw hours.

Inputs ``events`` and, where there is any, ``billing``; output ``look``: ``look.json``
(:class:`adrank.decisions.experiment.ExperimentStatistics`). Revenue is what was billed as of the end of the look, and
the provisional figure of what may yet be billed, which the look counts apart; so it does what was billed for no answer.

``python -m training.measure_experiment --experiment JSON --start ISO --end ISO [--billing-maturity P2D]``
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from adrank.contracts.entry_points.training import MeasureExperiment
from adrank.contracts.experiments import Experiment, Variant
from adrank.contracts.timestamps import as_utc, micros
from adrank.decisions.experiment import METRICS, ExperimentStatistics, MetricSums, VariantStatistics
from adrank.runtime import sagemaker_job
from training.dataset import billed_revenue, duckdb_sql

_log = logging.getLogger(__name__)
_TEXTS: Final = ("event_id", "event_type", "user_id", "search_id", "ad_id", "experiment_id", "variant")
_COLUMNS: Final = {
    **dict.fromkeys(_TEXTS, "VARCHAR"),
    **dict.fromkeys(("event_time", "ingest_time"), "TIMESTAMPTZ"),
    "revenue": "DOUBLE",
}
_ANSWERS: Final = "(SELECT * FROM experiment_events WHERE event_type <> 'impression')"
_VARIANTS: Final[tuple[Variant, ...]] = ("control", "treatment")


def measure(
    events: Path | None,
    experiment: Experiment,
    start: datetime,
    end: datetime,
    *,
    billing: Path | None = None,
    billing_maturity: timedelta = billed_revenue.MATURITY,
) -> ExperimentStatistics:
    """Statistics of event time ``[start, end)``, never before the experiment's own start.

    ``events`` is a directory that is searched for raw event files; none means that nobody searched. ``billing`` is
    one that is searched for billing manifests; none means that nothing has been billed.

    :raises JobError: the events or the billing cannot be read, or name a variant that the experiment does not have
    """
    start = max(as_utc(start), as_utc(experiment.start))
    connection = duckdb_sql.connect()
    _read_events(connection, events)
    billed_revenue.read(connection, billing, end)
    parameters = {"start_us": micros(start), "end_us": micros(end), "experiment_id": experiment.experiment_id}
    with duckdb_sql.reading("events"):
        duckdb_sql.create_table(
            connection, "experiment_events", duckdb_sql.statement("metrics/experiment_events"), parameters
        )
        billed_revenue.supersede(connection, _ANSWERS, "superseded_answers", billing_maturity)
        unmatched = billed_revenue.unmatched(connection, "superseded_answers", micros(start), billing_maturity)
        duckdb_sql.create_table(connection, "experiment_answers", duckdb_sql.statement("metrics/experiment_answers"))
        duckdb_sql.create_table(
            connection, "experiment_users", duckdb_sql.statement("metrics/experiment_users"), parameters
        )
    strange = connection.execute(
        "SELECT user_id, variant FROM experiment_users WHERE variant IS NULL OR variant NOT IN ('control', 'treatment')"
    ).fetchone()
    if strange:
        raise sagemaker_job.JobError(
            f"user {strange[0]} has impressions of {experiment.experiment_id} with variant {strange[1]!r}, "
            "expected control or treatment"
        )
    crossed = "SELECT count(DISTINCT user_id) FROM experiment_users WHERE variants_seen > 1"
    return ExperimentStatistics(
        experiment_id=experiment.experiment_id,
        treatment_share=experiment.treatment_share,
        start=start,
        end=end,
        variants=_variants(connection),
        crossovers=connection.execute(crossed).fetchall()[0][0],
        unmatched_events=unmatched.events,
        unmatched_revenue=unmatched.revenue,
    )


def _read_events(connection: duckdb.DuckDBPyConnection, events: Path | None) -> None:
    files = sorted(events.rglob("*.parquet")) if events else []
    source = f"read_parquet({duckdb_sql.file_list(files)}, hive_partitioning = false)"
    query = f"SELECT {', '.join(_COLUMNS)} FROM {source}" if files else duckdb_sql.empty(_COLUMNS)  # noqa: S608
    with duckdb_sql.reading("events"):
        connection.execute(f"CREATE TEMP VIEW raw_events AS {query}")


def _variants(connection: duckdb.DuckDBPyConnection) -> dict[Variant, VariantStatistics]:
    sums = ", ".join(
        f"sum({m}) AS {m}_total, sum({m} * {m}) AS {m}_squares, sum({m} * searches) AS {m}_with_searches"
        for m in METRICS
    )
    result = connection.execute(duckdb_sql.statement("metrics/experiment_sums", sums=sums))
    names = [column[0] for column in result.description or ()]
    found = {row["variant"]: row for row in (dict(zip(names, values, strict=True)) for values in result.fetchall())}
    return {name: _statistics(found.get(name)) for name in _VARIANTS}


def _statistics(row: Mapping[str, Any] | None) -> VariantStatistics:
    if row is None:
        return VariantStatistics(users=0, metrics={metric: MetricSums() for metric in METRICS})
    return VariantStatistics(
        users=row["users"],
        searches=row["searches"],
        searches_squares=row["searches_squares"],
        provisional_revenue=row["provisional_revenue"],
        metrics={
            metric: MetricSums(
                total=row[f"{metric}_total"],
                squares=row[f"{metric}_squares"],
                with_searches=row[f"{metric}_with_searches"],
            )
            for metric in METRICS
        },
    )


def main() -> None:
    """Run as a processing job."""
    args = MeasureExperiment.parse()
    statistics = measure(
        sagemaker_job.optional_input("events"),
        args.experiment,
        args.start,
        args.end,
        billing=sagemaker_job.optional_input("billing"),
        billing_maturity=args.billing_maturity,
    )
    look = statistics.model_dump_json(indent=2)
    (sagemaker_job.processing_output("look") / "look.json").write_text(look, encoding="utf-8")
    _log.info("%s", statistics.model_dump_json())


if __name__ == "__main__":
    sagemaker_job.run_job("processing", main)
