"""A few rows of a feature partition, brought to the driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts.registry import FeatureGroup
from adrank.online.vectors import Matrix


def sampled(rows: DataFrame, group: FeatureGroup, size: int, seed: int) -> tuple[list[str], Matrix]:
    """Entity ids and values [n, features] of at most ``size`` rows: another spread of entities for every ``seed``."""
    order = F.xxhash64("entity_id", F.lit(seed))
    found = rows.select("entity_id", *group.names).orderBy(order, "entity_id").limit(size).collect()
    values = matrix(row[1:] for row in found)
    return [row[0] for row in found], values.reshape(len(found), len(group.names))


def absent(rows: DataFrame, entities: Sequence[str]) -> list[str]:
    """Those of ``entities`` that have no row, in order."""
    if not entities:
        return []
    asked = rows.sparkSession.createDataFrame([(entity,) for entity in entities], "entity_id string")
    there = rows.select("entity_id").join(F.broadcast(asked), "entity_id", "left_semi").collect()
    found = {row[0] for row in there}
    return [entity for entity in entities if entity not in found]


def matrix(rows: Iterable[Iterable[float | None]]) -> Matrix:
    """float32 [rows, features]; null is NaN."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float32)
