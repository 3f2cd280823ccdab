"""What live traffic is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from adrank.contracts.entry_points.command_line import EntryPointArguments, WholeHour, loaded


def _positive(value: object) -> object:
    if isinstance(value, str) and (not value.isdigit() or int(value) < 1):
        raise ValueError(f"{value} is not a whole number, 1 or more")
    return value


_Positive = Annotated[int, BeforeValidator(_positive)]


class TrafficArguments(EntryPointArguments):
    """Live traffic through the router, on a compressed event clock, until it is told to stop."""

    program = "simulator.traffic"

    start: WholeHour = Field(description="first live event hour, ISO 8601 with zone")
    hours: int = 24
    searches: int = Field(default=6000, description="over all --hours")
    speed: float = Field(default=300, description="event seconds per wall-clock second, at most")
    max_hours: int = 168
    max_lag: _Positive | None = Field(
        default=None, description="messages; hold the clock while the archiver is further behind"
    )
    max_open_hours: _Positive = Field(default=2, description="with --max-lag: hold it while more told hours are open")
    concurrency: int = 4
    endpoint: str = loaded(lambda s: s.sagemaker.production_endpoint)
    experiments_table: str = loaded(lambda s: s.online.experiments_table)
    state: Path
    resume: bool = False
    searches_source: Literal["world", "replay"] = "world"
    data: Path | None = Field(default=None, description="directory of the log to replay")
    seed: int = 7
    history_days: int = Field(default=8, description="of the world, as its history was landed")

    @model_validator(mode="after")
    def _replays_something(self) -> Self:
        if self.searches_source == "replay" and self.data is None:
            raise ValueError("--searches-source replay needs --data")
        return self
