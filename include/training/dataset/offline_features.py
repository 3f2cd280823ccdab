"""Offline features as an impression would have been served them, from partitions and their manifests.

Per group, of the partitions that could be seen at that moment, those of the newest hour in its newest revision; the
registry's default where an entity is not in it or has expired, NaN where the row itself says missing.

A partition is what its manifest says, and may hold nobody: then nobody has the row of the hour before any more. So a
file too few would look like entities that vanished; files and manifests that do not agree are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import Entity, FeatureGroup
from adrank.contracts.timestamps import HOUR, as_utc
from adrank.runtime.sagemaker_job import JobError
from training.dataset import duckdb_sql

_log = logging.getLogger(__name__)
#: The column of ``joined`` that names the entity.
_ENTITY_KEYS: Final[Mapping[Entity, str]] = {"ad": "ad_id", "seller": "seller_id", "user_category": "user_category"}
#: The lake keeps a partition's revisions in folders of their own.
_REVISION: Final = r"regexp_extract(filename, '.*/rev=(\d+)/', 1)::INTEGER"
_MOMENT: Final = pa.timestamp("us", "UTC")


class FeatureFilesError(JobError):
    """Offline features that do not fit the registry or their manifests."""


def join_features(connection: duckdb.DuckDBPyConnection, features: Path | None) -> None:
    """Create :func:`table_of` every group from ``joined`` and a directory of files and their manifests.

    :raises FeatureFilesError: files and manifests do not agree, or not with the registry
    """
    for group in registry.load().groups:
        statement = duckdb_sql.statement(
            "training/point_in_time",
            source="joined",
            entity_key=_ENTITY_KEYS[group.entity],
            projection=_projection(group),
        )
        with duckdb_sql.reading(f"features of group {group.name}", FeatureFilesError):
            _read_partitions(connection, features, group)
            duckdb_sql.create_table(connection, table_of(group), statement)


def table_of(group: FeatureGroup) -> str:
    """The table of a group's features by number of impression, not quoted."""
    return f"features of {group.name}"


def _projection(group: FeatureGroup) -> str:
    ttl_us = timedelta(hours=group.ttl_hours) // timedelta(microseconds=1)
    absent = f"g.entity_id IS NULL OR g.feature_us + {ttl_us} < i.event_us"
    return ", ".join(
        f"(CASE WHEN {absent} THEN {_literal(feature.default)} ELSE coalesce(g.{name}, 'NaN') END)::FLOAT AS {name}"
        for feature, name in ((feature, duckdb_sql.quote_identifier(feature.name)) for feature in group.features)
    )


def _literal(default: float | None) -> str:
    return "'NaN'::FLOAT" if default is None else f"{default!r}::FLOAT"


def _read_partitions(connection: duckdb.DuckDBPyConnection, features: Path | None, group: FeatureGroup) -> None:
    """Create table ``visible_partitions`` and view ``group_rows``."""
    found = {} if features is None else {p: p.relative_to(features).parts[:-1] for p in features.rglob("*")}
    inside = [path for path, folders in found.items() if group.name in folders]
    manifests = {path: _manifest(path, group) for path in inside if path.name == lake.MANIFEST}
    files = sorted(path.with_name(name) for path, manifest in manifests.items() for name in manifest.files)
    if stray := sorted({path for path in inside if path.suffix == ".parquet"} - set(files)):
        raise FeatureFilesError(f"no manifest names {stray[0]}, so nobody knows when it could be seen")
    connection.register("partitions", _partitions(manifests.values()))
    duckdb_sql.create_table(connection, "visible_partitions", duckdb_sql.statement("training/visible_partitions"))
    connection.unregister("partitions")
    _create_rows(connection, group, files)
    _log.info("group %s: %d partitions, %d files", group.name, len(manifests), len(files))


def _manifest(path: Path, group: FeatureGroup) -> FeatureManifest:
    try:
        manifest = FeatureManifest.model_validate_json(path.read_bytes())
    except ValidationError as broken:
        raise FeatureFilesError(f"{path} is no feature manifest: {broken}") from broken
    if manifest.fingerprint != group.fingerprint:
        raise FeatureFilesError(
            f"{path}: group {group.name} was computed against fingerprint {manifest.fingerprint[:12]}, "
            f"the registry's is {group.fingerprint[:12]} ({', '.join(group.names)})"
        )
    key = lake.FEATURES(group.name).manifest(manifest.hour, manifest.revision)
    if not path.as_posix().endswith(f"/{key}"):
        raise FeatureFilesError(f"{path} is the manifest of another partition: {key}")
    return manifest


def _partitions(manifests: Iterable[FeatureManifest]) -> pa.Table:
    columns = {
        "feature_time": pa.array([as_utc(m.hour) + HOUR for m in manifests], _MOMENT),
        "available_at": pa.array([as_utc(m.available_at) for m in manifests], _MOMENT),
        "revision": pa.array([m.revision for m in manifests], pa.int32()),
    }
    return pa.table(columns)


def _create_rows(connection: duckdb.DuckDBPyConnection, group: FeatureGroup, files: Sequence[Path]) -> None:
    features = ", ".join(duckdb_sql.quote_identifier(name) for name in group.names)
    if not files:
        _log.warning("no feature files of group %s: its features take their defaults", group.name)
        keys = {"entity_id": "VARCHAR", "feature_us": "BIGINT", "revision": "INTEGER"}
        query = duckdb_sql.empty({**keys, **dict.fromkeys(group.names, "FLOAT")})
    else:
        for path in files:
            _check_file(path, group)
        options = "hive_partitioning = false, union_by_name = true, filename = true"
        source = f"read_parquet({duckdb_sql.file_list(files)}, {options})"
        query = (
            f"SELECT entity_id, epoch_us(feature_time) AS feature_us, {_REVISION} AS revision, {features} "  # noqa: S608
            f"FROM {source}"
        )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW group_rows AS {query}")


def _check_file(path: Path, group: FeatureGroup) -> None:
    expected = ("entity_id", "feature_time", "available_at", *group.names)
    try:
        found = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as broken:
        raise FeatureFilesError(f"{path} is no Parquet file: {broken}") from broken
    missing, unknown = [n for n in expected if n not in found], [n for n in found if n not in set(expected)]
    if missing or unknown:
        raise FeatureFilesError(
            f"{path} does not fit group {group.name}: lacks {', '.join(missing) or 'nothing'}, "
            f"has unknown {', '.join(unknown) or 'nothing'}"
        )
