"""Processing job: raw events, billing and offline features in, a point-in-time training set out.

A row is one impression with the features that the online store would have answered at that moment: per group, of the
partitions with ``available_at <= event_time``, those of the newest hour in its newest revision; the registry's default
where an entity is not in it (or it has expired), NaN where the row itself says missing. Request-time values come from
the event's own context. Labels are what the impression led to within the maturity window. Rows in = rows out.

``python -m training.build_training_set --as-of ISO --window-days N --test-fraction F --labels JSON
[--billing-maturity P2D]``
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from adrank.contracts import registry
from adrank.contracts.events import REQUIRED_EVENT_COLUMNS, SLOT_KEY
from adrank.contracts.manifests import TrainingSetManifest
from adrank.contracts.registry import Entity, FeatureGroup
from adrank.contracts.settings import Labels
from adrank.contracts.timestamps import from_micros, micros
from adrank.online.vectors import servable
from adrank.ranking.ranker import CONTEXT_PREFIX
from adrank.runtime import sagemaker_job
from training.dataset import billed_revenue, duckdb_sql, offline_features
from training.dataset.offline_features import FeatureFilesError
from training.dataset.row_digest import RowDigest
from training.dataset.training_set import MANIFEST, TEST, TRAIN

_log = logging.getLogger(__name__)
_ENTITY_KEYS: Final[Mapping[Entity, str]] = {"ad": "ad_id", "seller": "seller_id", "user_category": "user_category"}


class ThinLogError(sagemaker_job.JobError):
    """The log holds too little to learn or to judge from."""


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
    as_of_us, start_us = micros(as_of), micros(as_of - timedelta(days=window_days))
    maturity_us = labels.maturity // timedelta(microseconds=1)
    connection = duckdb_sql.connect()
    _read_events(connection, events)
    impressions = _read_impressions(connection, start_us, as_of_us, maturity_us)
    keys = _context_keys(connection)
    billed_revenue.read(connection, billing, as_of)
    _label(connection, labels, start_us, as_of_us, maturity_us, billing_maturity)
    unmatched = billed_revenue.unmatched(connection, "answers", start_us, billing_maturity)
    _read_ads(connection, ads)
    _join_features(connection, features)
    test_start_us = _split(connection, test_fraction)
    names = (*(f.name for f in servable(registry.load())), *(CONTEXT_PREFIX + key for key in keys))
    output.mkdir(parents=True, exist_ok=True)
    final = _select_final(connection, keys, test_start_us)
    train_rows, train_digest = _write(connection, final, "train", output / TRAIN)
    test_rows, test_digest = _write(connection, final, "test", output / TEST)
    if train_rows + test_rows != impressions:
        raise sagemaker_job.JobError(
            f"the point-in-time join took in {impressions} impressions and gave {train_rows + test_rows} rows"
        )
    manifest = TrainingSetManifest(
        as_of=as_of,
        train_start=from_micros(_scalar(connection, "SELECT min(query_us) FROM joined")),
        test_start=from_micros(test_start_us),
        end=as_of - labels.maturity,
        impressions=impressions,
        rows=train_rows + test_rows,
        queries=_scalar(connection, "SELECT count(DISTINCT search_id) FROM joined"),
        train_rows=train_rows,
        test_rows=test_rows,
        features=names,
        fingerprint=registry.load().fingerprint,
        content_digest=hashlib.sha256(f"{train_digest} {test_digest}".encode()).hexdigest(),
        **_revenue_states(connection),
        unmatched_events=unmatched.events,
        unmatched_revenue=unmatched.revenue,
    )
    (output / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    _log.info("Training set %s: %d train rows, %d test rows", manifest.content_digest[:12], train_rows, test_rows)
    return manifest


def _read_events(connection: duckdb.DuckDBPyConnection, events: Path) -> None:
    files = sorted(events.rglob("*.parquet"))
    if not files:
        raise ThinLogError(f"no events files under {events}")
    columns = ", ".join([*REQUIRED_EVENT_COLUMNS, "ingest_time", "revenue", "context"])
    source = f"read_parquet({duckdb_sql.file_list(files)}, hive_partitioning = false)"
    try:
        connection.execute(f"CREATE TEMP VIEW raw_events AS SELECT {columns} FROM {source}")  # noqa: S608
        where = " OR ".join(f"{name} IS NULL" for name in REQUIRED_EVENT_COLUMNS if name != "position")
        broken = connection.execute(
            f"SELECT event_id, search_id, ad_id FROM raw_events WHERE {where} OR NOT isfinite(revenue) "  # noqa: S608
            "OR (event_type = 'impression' AND position IS NULL) LIMIT 1"
        ).fetchall()
    except duckdb.Error as error:
        raise sagemaker_job.JobError(f"events cannot be read: {error}") from error
    if broken:
        event, search, ad = broken[0]
        raise sagemaker_job.JobError(
            f"event {event} (search {search}, ad {ad}) lacks a required value or has a revenue that is no number"
        )


def _read_impressions(connection: duckdb.DuckDBPyConnection, start_us: int, as_of_us: int, maturity_us: int) -> int:
    window = {"start_us": start_us, "as_of_us": as_of_us}
    seen = duckdb_sql.create_table(connection, "impressions", duckdb_sql.statement("training/impressions"), window)
    mature = duckdb_sql.create_table(
        connection,
        "mature_impressions",
        "SELECT * FROM impressions WHERE event_us + $maturity_us <= $as_of_us",
        {"maturity_us": maturity_us, "as_of_us": as_of_us},
    )
    connection.execute("DROP TABLE impressions")
    _log.info("%d impressions in the window; %d are younger than the labels' maturity", seen, seen - mature)
    if not mature:
        raise ThinLogError(
            f"no mature impressions between {from_micros(start_us).isoformat()} and "
            f"{from_micros(as_of_us - maturity_us).isoformat()} ({seen} are too young)"
        )
    return mature


def _context_keys(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute("SELECT DISTINCT unnest(map_keys(context)) FROM mature_impressions").fetchall()
    return sorted(key for (key,) in found if key != SLOT_KEY)


def _label(
    connection: duckdb.DuckDBPyConnection,
    labels: Labels,
    start_us: int,
    as_of_us: int,
    maturity_us: int,
    billing_maturity: timedelta,
) -> None:
    parameters = {
        "start_us": start_us,
        "as_of_us": as_of_us,
        "maturity_us": maturity_us,
        "click_weight": labels.click,
        "contact_weight": labels.contact,
        "revenue_weight": labels.revenue,
        "max_grade": labels.max_grade,
    }
    duckdb_sql.create_table(connection, "answers", duckdb_sql.statement("training/answers"), parameters)
    billed_revenue.supersede(connection, "answers", "superseded_answers", billing_maturity)
    answers = duckdb_sql.create_table(connection, "outcomes", duckdb_sql.statement("training/outcomes"), parameters)
    lost = _scalar(connection, "SELECT count(*) FROM outcomes WHERE impression_id IS NULL")
    _log.info("%d answers; %d answer no mature impression of the window within the maturity", answers, lost)
    duckdb_sql.create_table(connection, "labelled", duckdb_sql.statement("training/labelled"), parameters)
    connection.execute("DROP TABLE mature_impressions")


def _revenue_states(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The manifest's figures of how much of the set's revenue is billed, provisional or expired."""
    found = connection.execute(duckdb_sql.statement("training/revenue_states")).fetchall()
    events = {state: count for state, count, _ in found}
    revenue = {state: round(total, 6) for state, _, total in found}
    _log.info("answers by revenue: %s; revenue: %s", events or "none", revenue or "none")
    return {
        "billed_events": events.get("billed", 0),
        "provisional_events": events.get("provisional", 0),
        "expired_events": events.get("expired", 0),
        "billed_revenue": revenue.get("billed", 0.0),
        "provisional_revenue": revenue.get("provisional", 0.0),
    }


def _read_ads(connection: duckdb.DuckDBPyConnection, ads: Path | None) -> None:
    files = sorted(ads.rglob("*.jsonl")) if ads else []
    known = ("ad_id", "seller_id", "category")
    if files:
        row = ", ".join(f"{name} VARCHAR" for name in known)
        columns = f"{{after: 'STRUCT({row})', ts_ms: 'BIGINT', source: 'STRUCT(lsn BIGINT)'}}"
        source = f"read_ndjson({duckdb_sql.file_list(files)}, columns = {columns})"
        query = f"SELECT unnest(after), ts_ms, source.lsn FROM {source} WHERE after IS NOT NULL"  # noqa: S608
    else:
        _log.warning("no catalogue changes: every feature of a seller or a category takes its default")
        row = ", ".join(f"NULL::VARCHAR {name}" for name in known)
        query = f"SELECT {row}, NULL::BIGINT ts_ms, NULL::BIGINT lsn LIMIT 0"
    try:
        duckdb_sql.create_table(connection, "ad_changes", query)
    except duckdb.Error as error:
        raise sagemaker_job.JobError(f"catalogue changes cannot be read: {error}") from error
    duckdb_sql.create_table(connection, "ads", duckdb_sql.statement("training/ads"))
    rows = duckdb_sql.create_table(connection, "joined", duckdb_sql.statement("training/impression_ads"))
    connection.execute("DROP TABLE labelled")
    for name in known[1:]:
        unknown = _scalar(connection, f"SELECT count(*) FROM joined WHERE {name} IS NULL")  # noqa: S608
        if unknown:
            _log.warning("%d of %d impressions are of ads without a known %s", unknown, rows, name)


def _join_features(connection: duckdb.DuckDBPyConnection, features: Path | None) -> None:
    """Create a table per group with its features by number of impression."""
    for group in registry.load().groups:
        statement = duckdb_sql.statement(
            "training/point_in_time",
            source="joined",
            entity_key=_ENTITY_KEYS[group.entity],
            projection=_projection(group),
        )
        try:
            offline_features.read(connection, features, group)
            duckdb_sql.create_table(connection, _features_of(group), statement)
        except duckdb.Error as error:
            raise FeatureFilesError(f"features of group {group.name} cannot be read: {error}") from error


def _features_of(group: FeatureGroup) -> str:
    return f"features of {group.name}"


def _projection(group: FeatureGroup) -> str:
    ttl_us = timedelta(hours=group.ttl_hours) // timedelta(microseconds=1)
    absent = f"g.entity_id IS NULL OR g.feature_us + {ttl_us} < i.event_us"
    return ", ".join(
        f"(CASE WHEN {absent} THEN {_literal(feature.default)} "
        f"ELSE coalesce(g.{duckdb_sql.identifier(feature.name)}, 'NaN') END)::FLOAT "
        f"AS {duckdb_sql.identifier(feature.name)}"
        for feature in group.features
    )


def _literal(default: float | None) -> str:
    return "'NaN'::FLOAT" if default is None else f"{default!r}::FLOAT"


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
        if not connection.execute(positive, [start]).fetchall()[0][0]:
            split = f"{name} split ({condition[:-1]}{from_micros(start)})"
            raise ThinLogError(f"no impression of the {split} has a positive")
    return start


def _select_final(connection: duckdb.DuckDBPyConnection, keys: Sequence[str], test_start_us: int) -> str:
    """Create view ``final`` with the set's columns, times still in microseconds, and return its name."""
    features = [duckdb_sql.identifier(f.name) for f in servable(registry.load())]
    for key in keys:
        value = f"map_extract_value(context, {duckdb_sql.text(key)})::FLOAT"
        # A value beyond float32 cannot be served either; both sides call it missing.
        name = duckdb_sql.identifier(CONTEXT_PREFIX + key)
        features.append(f"CASE WHEN isfinite({value}) THEN {value} ELSE 'NaN'::FLOAT END AS {name}")
    joins = " ".join(f"JOIN {duckdb_sql.identifier(_features_of(g))} USING (number)" for g in registry.load().groups)
    connection.execute(
        f"""CREATE TEMP VIEW final AS SELECT
            search_id, user_id, query_us AS query_time, event_us AS event_time, event_id, position::INTEGER AS position,
            ad_id, seller_id,
            coalesce(map_extract_value(context, {duckdb_sql.text(SLOT_KEY)})::FLOAT, 'NaN') AS slot,
            click, contact, revenue, objective_label,
            CASE WHEN query_us < {test_start_us} THEN 'train' ELSE 'test' END AS split,
            {", ".join(features)}
        FROM joined {joins}"""  # noqa: S608
    )
    return "final"


def _write(connection: duckdb.DuckDBPyConnection, view: str, split: str, path: Path) -> tuple[int, str]:
    """Write the rows of a split in their order; returns their number and digest."""
    query = (
        f"SELECT * FROM {view} WHERE split = {duckdb_sql.text(split)} "  # noqa: S608
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


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def main() -> None:
    """Run as a processing job."""
    parser = argparse.ArgumentParser(description="Build a point-in-time training set.")
    parser.add_argument("--as-of", type=datetime.fromisoformat, required=True)
    parser.add_argument("--window-days", type=int, required=True)
    parser.add_argument("--test-fraction", type=float, required=True)
    parser.add_argument("--labels", type=Labels.model_validate_json, required=True)
    parser.add_argument("--billing-maturity", type=billed_revenue.duration, default=billed_revenue.MATURITY)
    options = parser.parse_args()
    build(
        sagemaker_job.processing_input("events"),
        sagemaker_job.optional_input("features"),
        sagemaker_job.optional_input("ads"),
        sagemaker_job.processing_output("training_set"),
        as_of=options.as_of,
        window_days=options.window_days,
        test_fraction=options.test_fraction,
        labels=options.labels,
        billing=sagemaker_job.optional_input("billing"),
        billing_maturity=options.billing_maturity,
    )


if __name__ == "__main__":
    sagemaker_job.run("processing", main)
