"""A built training set as arrays: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from adrank.contracts import registry
from adrank.contracts.manifests import TrainingSetManifest
from adrank.ranking.ranker import SLOT_FEATURE
from adrank.runtime.sagemaker_job import JobError

MANIFEST: Final = "manifest.json"
TRAIN: Final = "train.parquet"
TEST: Final = "test.parquet"


class TrainingSetError(JobError):
    """A training set that cannot be read, or that its manifest does not describe."""


@dataclass(frozen=True)
class Split:
    """Rows of one split, sorted by query time; ``query`` numbers the queries 0, 1, ... in that order, ``ad`` the ads.

    ``features`` is float32 ``[rows, features]`` with NaN for missing; every other array is ``[rows]``.
    """

    features: NDArray[np.float32]
    query: NDArray[np.int64]
    ad: NDArray[np.int64]
    query_time: NDArray[np.int64]
    position: NDArray[np.int64]
    slot: NDArray[np.float32]
    click: NDArray[np.int64]
    contact: NDArray[np.int64]
    revenue: NDArray[np.float64]
    grade: NDArray[np.int64]

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.query[-1]) + 1 if len(self.query) else 0

    def where(self, rows: NDArray[np.bool_]) -> Split:
        """The rows of a mask; queries are numbered anew."""
        kept = self.take(np.flatnonzero(rows))
        return replace(kept, query=np.unique(kept.query, return_inverse=True)[1])

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The rows at these indices, in this order; queries keep their numbers."""
        return Split(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def with_positives(self) -> Split:
        """The queries that have a graded answer: the others teach a pairwise ranker nothing."""
        best = np.zeros(self.queries, dtype=np.int64)
        np.maximum.at(best, self.query, self.grade)
        return self.where(best[self.query] > 0)


@dataclass(frozen=True)
class TrainingSet:
    """A manifest and its two splits."""

    manifest: TrainingSetManifest
    train: Split
    test: Split

    def vectors(self, split: Split, names: Sequence[str]) -> NDArray[np.float32]:
        """The split's features in the order that a package wants them; one that the set lacks is NaN throughout."""
        columns = {name: split.features[:, i] for i, name in enumerate(self.manifest.features)}
        columns[SLOT_FEATURE] = split.slot
        missing = np.full(len(split.query), np.nan, dtype=np.float32)
        return np.column_stack([columns.get(name, missing) for name in names]).astype(np.float32)


def read(directory: Path) -> TrainingSet:
    """Read what :mod:`training.build_training_set` wrote.

    :raises TrainingSetError: a file is missing or does not hold what the manifest says
    :raises RegistryMismatchError: it was built against another feature registry
    """
    try:
        manifest = TrainingSetManifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (OSError, ValidationError) as broken:
        raise TrainingSetError(f"{directory / MANIFEST} cannot be read: {broken}") from broken
    registry.load().require(manifest.fingerprint, manifest.features, f"training set {manifest.content_digest[:12]}")
    train = _read_split(directory / TRAIN, manifest.features, manifest.train_rows)
    test = _read_split(directory / TEST, manifest.features, manifest.test_rows)
    return TrainingSet(manifest, train, test)


def _read_split(path: Path, names: Sequence[str], rows: int) -> Split:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as broken:
        raise TrainingSetError(f"{path} cannot be read: {broken}") from broken
    lacking = [name for name in names if name not in table.column_names]
    if lacking or table.num_rows != rows:
        raise TrainingSetError(
            f"{path} has {table.num_rows} rows and lacks {', '.join(lacking) or 'no feature'}; "
            f"its manifest says {rows} rows"
        )
    features = np.empty((rows, len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        features[:, i] = _numpy(table[name])
    return Split(
        features=features,
        query=_query_numbers(table["search_id"]),
        ad=_numpy(pc.dictionary_encode(table["ad_id"]).combine_chunks().indices).astype(np.int64),
        query_time=_numpy(table["query_time"].cast(pa.int64())),
        position=_numpy(table["position"]).astype(np.int64),
        slot=_numpy(table["slot"]),
        click=_numpy(table["click"]).astype(np.int64),
        contact=_numpy(table["contact"]).astype(np.int64),
        revenue=_numpy(table["revenue"]),
        grade=_numpy(table["objective_label"]).astype(np.int64),
    )


def _query_numbers(search_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers by first appearance; the rows are sorted, so a query's rows are neighbours."""
    codes: NDArray[np.int64] = _numpy(pc.dictionary_encode(search_ids).combine_chunks().indices).astype(np.int64)
    if np.any(np.diff(codes) < 0):
        raise TrainingSetError("rows of one query are not neighbours")
    return codes


def _numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
