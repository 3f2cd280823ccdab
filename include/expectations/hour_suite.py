"""What must hold of each hour's rows as a whole: keys, the manifest's count, about as many as the day before.

What a log's first weeks fill grows in proportion to the log's age, so an hour may have that much more than its maximum;
the log's first day is not compared with, because a part of a day is not like any other part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from adrank.contracts.registry import WINDOW
from adrank.contracts.timestamps import DAY, HOUR

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd
    from pyspark.sql import DataFrame

#: Columns that say which hour is meant, and why it is not as expected.
NAMED_BY: Final = ("hour_end", "rows", "manifest_rows", "repeated", "day_before")
_COLUMNS: Final = (*NAMED_BY, "entities", "ratio", "ratio_beyond_growth")


@dataclass(frozen=True)
class RowRatioBounds:
    """How far an hour's rows may be from those of the day before, if that had ``min_rows_compared`` rows or more."""

    min_ratio: float
    max_ratio: float
    min_rows_compared: int


@dataclass(frozen=True)
class HourRowCounts:
    """Rows by hour, as manifests tell: of the hours asked for, and of hours that these may be compared with.

    ``first`` is the first hour that was ever computed.
    """

    requested: Mapping[datetime, int]
    comparable: Mapping[datetime, int]
    first: datetime

    def day_over_day(self, hour: datetime, bounds: RowRatioBounds) -> dict[str, float]:
        """Columns of one of the hours asked for; none where there is nothing to compare it with.

        ``ratio`` is that of its rows to those of the day before; ``ratio_beyond_growth`` is what the log's age leaves.
        """
        before = self.comparable.get(hour - DAY, 0)
        if before < bounds.min_rows_compared or self._age(hour - DAY) < DAY / HOUR:
            return {}
        ratio = self.requested[hour] / before
        beyond_growth = ratio * self._age(hour - DAY) / self._age(hour)
        return {"day_before": before, "ratio": ratio, "ratio_beyond_growth": beyond_growth}

    def _age(self, hour: datetime) -> float:
        """Hours of log that a window can hold at the end of ``hour``."""
        return min(hour + HOUR - self.first, WINDOW) / HOUR


def hour_frame(rows: DataFrame, counts: HourRowCounts, bounds: RowRatioBounds) -> pd.DataFrame:
    """A row for each hour that was asked for or is there: what is there beside what manifests tell."""
    import pandas as pd

    found = {line["hour_end"]: line for line in _found(rows)}
    requested = {(hour + HOUR).isoformat(): hour for hour in counts.requested}
    lines: list[dict[str, Any]] = []
    for end in sorted({*found, *requested}):
        line = {"hour_end": end, "rows": 0, "entities": 0, "manifest_rows": 0, **found.get(end, {})}
        if hour := requested.get(end):
            line |= {"manifest_rows": counts.requested[hour], **counts.day_over_day(hour, bounds)}
        lines.append(line)
    return pd.DataFrame(lines, columns=list(_COLUMNS))


def suite(group: str, counts: HourRowCounts, bounds: RowRatioBounds) -> gx.ExpectationSuite:
    """What is expected of :func:`hour_frame`."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    ends = [(hour + HOUR).isoformat() for hour in counts.requested]
    expected: list[Any] = [
        gxe.ExpectColumnValuesToBeInSet(column="hour_end", value_set=ends),
        gxe.ExpectColumnPairValuesToBeEqual(column_A="rows", column_B="entities"),
        gxe.ExpectColumnPairValuesToBeEqual(column_A="rows", column_B="manifest_rows"),
        gxe.ExpectColumnValuesToBeBetween(column="ratio", min_value=bounds.min_ratio),
        gxe.ExpectColumnValuesToBeBetween(column="ratio_beyond_growth", max_value=bounds.max_ratio),
    ]
    return gx.ExpectationSuite(name=f"{group}_hours", expectations=expected)


def _found(rows: DataFrame) -> Iterator[dict[str, Any]]:
    from pyspark.sql import functions as F  # noqa: N812

    by_entity = rows.groupBy(F.unix_seconds("feature_time").alias("seconds"), "entity_id").count()
    found = by_entity.groupBy("seconds").agg(F.sum("count").alias("rows"), F.count("*").alias("entities")).collect()
    repeated: dict[int | None, str] = {}
    if any(line["rows"] != line["entities"] for line in found):
        several = by_entity.where("count > 1").groupBy("seconds").agg(F.min("entity_id").alias("entity_id"))
        repeated = {line["seconds"]: str(line["entity_id"]) for line in several.collect()}
    for line in found:
        end, counted = line["seconds"], {name: line[name] for name in ("rows", "entities")}
        hour_end = "never" if end is None else datetime.fromtimestamp(end, UTC).isoformat()
        yield {"hour_end": hour_end, **counted, "repeated": repeated.get(end)}
