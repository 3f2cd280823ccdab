"""The raw log as the views that tile queries read, deduplicated once for all groups of an application."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import count

from pyspark.sql import DataFrame, SparkSession

from adrank.contracts.manifests import RawManifest
from adrank.contracts.registry import FeatureGroup
from spark.aggregation import examination
from spark.lake import raw_events
from spark.lake.files import LakeFiles


class EventLog:
    """Events and examination curves that ``groups`` share, whichever asks first."""

    def __init__(self, spark: SparkSession, files: LakeFiles, groups: Iterable[FeatureGroup]) -> None:
        self._spark = spark
        self._files = files
        # What only one group reads is not worth a copy.
        self._is_kept = sum("events" in group.inputs for group in groups) > 1
        self._one_at_a_time = threading.Lock()
        self._views: dict[tuple[str, ...], str] = {}
        self._numbers = count()

    def register(self, spark: SparkSession, raws: Sequence[RawManifest]) -> None:
        """Let ``events`` and ``examination`` be, in the session ``spark``, what these raw hours hold and rest on."""
        with self._one_at_a_time:
            key = tuple(f"{raw.hour} {raw.digest}" for raw in raws)
            if key not in self._views:
                number = str(next(self._numbers))
                self._share(raw_events.events(self._spark, self._files, raws), f"events_{number}")
                curves = examination.view(self._spark, self._files, [raw.hour for raw in raws])
                self._share(curves, f"examination_{number}")
                self._views[key] = number
        for name in ("events", "examination"):
            spark.table(f"global_temp.{name}_{self._views[key]}").createOrReplaceTempView(name)

    def _share(self, rows: DataFrame, name: str) -> None:
        (rows.persist() if self._is_kept else rows).createOrReplaceGlobalTempView(name)
