"""Everything that makes one marketplace differ from another. The same settings are the same world, to the byte.

Two seeds are documented:

- **7, learnable**: what users prefer in history is what they prefer in the live phase. A ranker that learns from
  history truly lifts contacts per search by more than 40 % over fixed slots.
- **8, season over**: history is made as in seed 7, but in the live phase users answer every ad alike. No ranking is
  better than another, the true lift is exactly zero, and an honest experiment ends undecided.

Any other seed is another learnable world.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from adrank.contracts.timestamps import as_utc, floor_hour

SEASON_OVER_SEED: Final = 8


class WorldSettings(BaseModel):
    """One world. History covers ``history_days`` before ``live_start``; hours are event time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    live_start: AwareDatetime
    history_days: int = Field(default=8, ge=1)
    ads: int = Field(default=1500, ge=20)
    sellers: int = Field(default=250, ge=1)
    categories: int = Field(default=12, ge=1)
    users: int = Field(default=4000, ge=1)
    searches_per_hour: float = Field(default=70, gt=0, description="history's mean over the day")
    candidates: int = Field(default=20, ge=1)
    history_preference: float = Field(default=1, ge=0, description="how much reactions depend on ad and user")
    live_preference: float = Field(default=1, ge=0, description="the same from live_start on; 0 means not at all")
    duplicate_share: float = Field(default=0.005, ge=0, lt=1, description="of deliveries that come twice")

    @field_validator("live_start")
    @classmethod
    def _whole_hour(cls, moment: datetime) -> datetime:
        if floor_hour(moment) != moment:
            raise ValueError("live_start must be a whole hour")
        return as_utc(moment)

    @property
    def start(self) -> datetime:
        """The first hour of history."""
        return self.live_start - timedelta(days=self.history_days)

    @property
    def history_hours(self) -> int:
        """Hours of history."""
        return self.history_days * 24


def documented_world(seed: int, live_start: datetime, history_days: int = 8) -> WorldSettings:
    """The settings that ``seed`` stands for."""
    live_preference = 0.0 if seed == SEASON_OVER_SEED else 1.0
    return WorldSettings(seed=seed, live_start=live_start, history_days=history_days, live_preference=live_preference)
