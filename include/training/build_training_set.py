"""Processing job: raw events, billing and offline features in, a point-in-time training set out.

A row is one impression with the features that the online store would have answered at that moment: per group, of the
partitions with ``available_at <= event_time``, those of the newest hour in its newest revision; the registry's default
where an entity is not in it (or it has expired), NaN where the row itself says missing. Request-time values come from
the event's own context. Labels are what the impression led to within the maturity window. Rows in = rows out.

``python -m training.build_training_set --as-of ISO --window-days N --test-fraction F --labels JSON
[--billing-maturity P2D]``
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from adrank.contracts import registry
from adrank.contracts.entry_points.training import BuildTrainingSet
from adrank.contracts.events import SLOT_KEY
from adrank.contracts.manifests import TrainingSetManifest
from adrank.contracts.settings import Labels
from adrank.contracts.timestamps import from_micros, micros
from adrank.online.vectors import servable
from adrank.ranking.ranker import CONTEXT_PREFIX
from adrank.runtime import sagemaker_job
from training.dataset import billed_revenue, duckdb_sql, impressions
from training.dataset.catalogue import join_ads
from training.dataset.impressions import ThinLogError, Window
from training.dataset.labels import label, revenue_states
from training.dataset.offline_features import join_features, table_of
from training.dataset.row_digest import RowDigest
from training.dataset.training_set import MANIFEST, TEST, TRAIN

_log = logging.getLogger(__name__)


def build(
    events: Path,
    features: Path | None,
    ads: Path | None,
    output: Path,
    *,
    as_of: datetime,
    window_days: int,
    test_fraction: float,
    labels: Labels,
    billing: Path | None = None,
    billing_maturity: timedelta = billed_revenue.MATURITY,
) -> TrainingSetManifest:
    """Build the set of impressions in ``[as_of - window, as_of - maturity]`` and write it to ``output``.

    Each input is a directory that is searched for data files. Writes ``train.parquet``, ``test.parquet`` (sorted by
    query time, search, position) and ``manifest.json``.

    :raises BillingFilesError: landed billing contradicts itself
    :raises FeatureFilesError: feature files do not agree with their manifests or with the registry
    :raises ThinLogError: no impressions, fewer than two queries, or a split without a positive
    """
    window = Window(
        start_us=micros(as_of - timedelta(days=window_days)),
        as_of_us=micros(as_of),
        maturity_us=labels.maturity // timedelta(microseconds=1),
    )
    connection = duckdb_sql.connect()
    impressions.read_events(connection, events)
    rows = impressions.select_mature(connection, window)
    keys = impressions.context_keys(connection)
    billed_revenue.read(connection, billing, as_of)
    label(connection, labels, window, billing_maturity)
    unmatched = billed_revenue.unmatched(connection, "answers", window.start_us, billing_maturity)
    join_ads(connection, ads)
    join_features(connection, features)
    test_start_us = _split(connection, test_fraction)
    names = (*(f.name for f in servable(registry.load())), *(CONTEXT_PREFIX + key for key in keys))
    output.mkdir(parents=True, exist_ok=True)
    final = _select_final(connection, keys, test_start_us)
    train_rows, train_digest = _write(connection, final, "train", output / TRAIN)
    test_rows, test_digest = _write(connection, final, "test", output / TEST)
    if train_rows + test_rows != rows:
        raise sagemaker_job.JobError(
            f"the point-in-time join took in {rows} impressions and gave {train_rows + test_rows} rows"
        )
    manifest = TrainingSetManifest(
        as_of=as_of,
        train_start=from_micros(duckdb_sql.scalar(connection, "SELECT min(query_us) FROM joined")),
        test_start=from_micros(test_start_us),
        end=as_of - labels.maturity,
        impressions=rows,
        rows=train_rows + test_rows,
        queries=duckdb_sql.scalar(connection, "SELECT count(DISTINCT search_id) FROM joined"),
        train_rows=train_rows,
        test_rows=test_rows,
        features=names,
        fingerprint=registry.load().fingerprint,
        content_digest=hashlib.sha256(f"{train_digest} {test_digest}".encode()).hexdigest(),
        **revenue_states(connection),
        unmatched_events=unmatched.events,
        unmatched_revenue=unmatched.revenue,
    )
    (output / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    _log.info("Training set %s: %d train rows, %d test rows", manifest.content_digest[:12], train_rows, test_rows)
    return manifest


def _split(connection: duckdb.DuckDBPyConnection, test_fraction: float) -> int:
    """Time of the first test query: the newest ``test_fraction`` of the queries by their first impression."""
    times: list[int] = [
        us for (us,) in connection.execute("SELECT min(query_us) FROM joined GROUP BY search_id").fetchall()
    ]
    times.sort()
    if len(times) < 2:
        raise ThinLogError(f"the window holds {len(times)} query; at least two are needed to train and to test")
    tested = min(max(round(len(times) * test_fraction), 1), len(times) - 1)
    start = times[-tested]
    if start == times[0]:
        raise ThinLogError(f"all {len(times)} queries have the same time; they cannot be split by time")
    for name, condition in (("train", "query_us < ?"), ("test", "query_us >= ?")):
        positive = f"SELECT count(*) FROM joined WHERE objective_label > 0 AND {condition}"  # noqa: S608
        if not duckdb_sql.scalar(connection, positive, [start]):
            split = f"{name} split ({condition[:-1]}{from_micros(start)})"
            raise ThinLogError(f"no impression of the {split} has a positive")
    return start


def _select_final(connection: duckdb.DuckDBPyConnection, keys: Sequence[str], test_start_us: int) -> str:
    """Create view ``final`` with the set's columns, times still in microseconds, and return its name."""
    features = [duckdb_sql.quote_identifier(f.name) for f in servable(registry.load())]
    for key in keys:
        value = f"map_extract_value(context, {duckdb_sql.quote_text(key)})::FLOAT"
        # A value beyond float32 cannot be served either; both sides call it missing.
        name = duckdb_sql.quote_identifier(CONTEXT_PREFIX + key)
        features.append(f"CASE WHEN isfinite({value}) THEN {value} ELSE 'NaN'::FLOAT END AS {name}")
    joins = " ".join(f"JOIN {duckdb_sql.quote_identifier(table_of(g))} USING (number)" for g in registry.load().groups)
    connection.execute(
        f"""CREATE TEMP VIEW final AS SELECT
            search_id, user_id, query_us AS query_time, event_us AS event_time, event_id, position::INTEGER AS position,
            ad_id, seller_id,
            coalesce(map_extract_value(context, {duckdb_sql.quote_text(SLOT_KEY)})::FLOAT, 'NaN') AS slot,
            click, contact, revenue, objective_label,
            CASE WHEN query_us < {test_start_us} THEN 'train' ELSE 'test' END AS split,
            {", ".join(features)}
        FROM joined {joins}"""  # noqa: S608
    )
    return "final"


def _write(connection: duckdb.DuckDBPyConnection, view: str, split: str, path: Path) -> tuple[int, str]:
    """Write the rows of a split in their order; returns their number and digest."""
    query = (
        f"SELECT * FROM {view} WHERE split = {duckdb_sql.quote_text(split)} "  # noqa: S608
        "ORDER BY query_time, search_id, position, ad_id, event_time, event_id"
    )
    reader: pa.RecordBatchReader = connection.sql(query).to_arrow_reader(200_000)
    moments = {"query_time", "event_time"}
    schema = pa.schema(
        [pa.field(f.name, pa.timestamp("us", "UTC") if f.name in moments else f.type) for f in reader.schema]
    )
    rows, values = 0, RowDigest(schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in reader:
            typed = batch.cast(schema)
            writer.write_batch(typed)
            values.update(typed)
            rows += batch.num_rows
    return rows, values.hexdigest()


def main() -> None:
    """Run as a processing job."""
    args = BuildTrainingSet.parse()
    build(
        sagemaker_job.processing_input("events"),
        sagemaker_job.optional_input("features"),
        sagemaker_job.optional_input("ads"),
        sagemaker_job.processing_output("training_set"),
        as_of=args.as_of,
        window_days=args.window_days,
        test_fraction=args.test_fraction,
        labels=args.labels,
        billing=sagemaker_job.optional_input("billing"),
        billing_maturity=args.billing_maturity,
    )


if __name__ == "__main__":
    sagemaker_job.run_job("processing", main)
