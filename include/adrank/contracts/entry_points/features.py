"""The arguments of the EMR steps of :mod:`spark.jobs`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import CliExplicitFlag, CliVariadicArg

from adrank.contracts import lake
from adrank.contracts.entry_points.command_line import Day, EntryPointArguments, Hour, Time, setting
from adrank.contracts.registry import Store
from adrank.contracts.timestamps import floor_hour


class _OnLake(EntryPointArguments):
    bucket: str = setting(lambda s: s.lake.bucket, description="bucket of the lake")


class _WithQueries(_OnLake):
    queries: str = setting(
        lambda s: lake.uri(s.lake.bucket, f"{s.lake.code_prefix}/sql"), description="where the published SQL is"
    )


class _WithHistory(EntryPointArguments):
    ignored_column: list[str] = setting(
        lambda s: s.cdc.ignored_columns, default=[], description="a TABLE.COLUMN that change data may have besides"
    )


class _WithLease(EntryPointArguments):
    owner: str | None = Field(default=None, description="the work for whom the groups' days are leased")


class _WithRowBounds(EntryPointArguments):
    row_ratio: CliVariadicArg[tuple[float, float]] = setting(
        lambda s: (s.expectations.min_row_ratio, s.expectations.max_row_ratio),
        description="least and most of an hour's rows to those of the day before",
    )
    min_rows_compared: int = setting(
        lambda s: s.expectations.min_rows_compared,
        description="rows of the day before, below which hours are not compared",
    )


class _WithStores(EntryPointArguments):
    redis_host: str = setting(lambda s: s.online.redis_host)
    redis_port: int = setting(lambda s: s.online.redis_port)
    redis_tls: bool = setting(lambda s: s.online.redis_tls, default=False)
    table: str = setting(lambda s: s.online.features_table, description="DynamoDB's table of features")
    region: str = setting(lambda s: s.region)


class ComputeFeatures(_WithQueries, _WithHistory, _WithLease):
    """Compute feature groups for whole hours."""

    program = "compute_features.py"

    group: list[str]
    start: Time
    end: Time
    recompute: CliExplicitFlag[bool] = Field(default=True, description="false: leave alone a group that is whole")

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if floor_hour(self.start) >= floor_hour(self.end):
            raise ValueError(f"there is no whole hour from {self.start.isoformat()} to {self.end.isoformat()}")
        return self


class ValidateFeatures(_OnLake, _WithRowBounds):
    """Look at the partitions of whole hours with Great Expectations."""

    program = "validate_features.py"

    start: Time
    end: Time
    run: str


class PushFeatures(_OnLake, _WithStores):
    """Bring an online store to one hour's newest feature rows."""

    program = "push_features.py"

    store: Store
    hour: Hour
    retry_seconds: float = Field(default=900, description="how long a store that refuses is waited for, in all")
    full: bool = Field(default=False, description="write every row, whatever the store holds")


class HourlyFeatures(_WithQueries, _WithHistory, _WithLease, _WithRowBounds, _WithStores):
    """Compute, validate, push and audit one hour."""

    program = "hourly_features.py"

    hour: Hour
    run: str
    late_lookback_hours: float
    sample: int = setting(lambda s: s.audit.sample, description="keys of each group that the audit reads, at most")
    max_skew: float = setting(lambda s: s.audit.max_skew, description="share of a group's keys that may differ")


class CheckWindows(_WithQueries):
    """Compare a group's windows and roll-ups with the hourly tiles that they are made of."""

    program = "check_windows.py"

    group: str
    day: Day
