"""The feature registry: every feature is declared once, in ``features.yaml``, and everything else is derived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Final, Literal

import yaml
from pydantic import Field, model_validator

from adrank.contracts.base import FrozenModel, sha256_json

Store = Literal["redis", "dynamodb"]
Entity = Literal["ad", "seller", "user_category"]
Input = Literal["events", "ads", "sellers"]

#: How far the longest window that a group may declare looks back from the end of its hour.
WINDOW: Final = timedelta(hours=672)


class RegistryMismatchError(RuntimeError):
    """Something was built against another registry than the one that runs here."""


class Feature(FrozenModel):
    """One feature. ``default`` is used when the entity has no row; ``None`` means missing (NaN)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    dtype: Literal["float32"] = "float32"
    default: float | None
    range: tuple[float, float]
    mostly: float = Field(default=1, gt=0, le=1, description="least share of the rows that must lie in the range")
    known_before_impression: bool = True
    description: str = Field(min_length=1)

    @property
    def default_value(self) -> float:
        """The default as a float; NaN for missing."""
        return float("nan") if self.default is None else self.default


class Aggregation(FrozenModel):
    """What a group counts per entity and hour, and over which windows it is added up.

    ``sql/tiles/<group>.sql`` gives the hourly ``measures``, whole numbers. The group's query sees each as
    ``<measure>_<window>``, and for those of ``latest`` the last hour that had any as ``last_<measure>`` (``hour_no``).
    """

    measures: tuple[str, ...] = Field(min_length=1)
    windows: Mapping[str, int] = Field(min_length=1, description="name -> hours")
    latest: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_possible(self) -> Aggregation:
        longest = WINDOW // timedelta(hours=1)
        if wrong := [name for name, hours in self.windows.items() if not 1 <= hours <= longest]:
            raise ValueError(f"windows {', '.join(wrong)}: must be between 1 and {longest} hours")
        if unknown := sorted(set(self.latest) - set(self.measures)):
            raise ValueError(f"latest names no measure: {', '.join(unknown)}")
        return self

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def sums(self) -> tuple[tuple[str, str, int], ...]:
        """(column, measure, hours) of every windowed sum, in order."""
        return tuple((f"{m}_{name}", m, hours) for name, hours in self.windows.items() for m in self.measures)

    @property
    def fingerprint(self) -> str:
        """Of what a window holds: windows of another one are not added to."""
        return sha256_json([self.measures, dict(self.windows), self.latest])


class FeatureGroup(FrozenModel):
    """Features of one entity that one job computes together and one store serves."""

    name: str
    entity: Entity
    inputs: tuple[Input, ...] = Field(min_length=1, description="what its queries may read")
    aggregation: Aggregation | None = Field(
        default=None, description="hourly tiles and their windows; for who reads events"
    )
    lookback_hours: int = Field(default=0, ge=0, description="how far before an hour it reads ads and sellers")
    store: Store
    cadence_minutes: int = Field(gt=0)
    lag_minutes: int = Field(ge=0)
    ttl_hours: int = Field(gt=0)
    owner: str
    description: str
    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _outlives_its_cadence(self) -> FeatureGroup:
        if self.ttl_hours * 60 < 3 * self.cadence_minutes:
            raise ValueError(f"group {self.name}: ttl_hours must be at least three cadences")
        return self

    @model_validator(mode="after")
    def _aggregates_what_it_reads(self) -> FeatureGroup:
        if (self.aggregation is not None) != ("events" in self.inputs):
            raise ValueError(f"group {self.name}: a group has an aggregation if and only if it reads events")
        return self

    @model_validator(mode="after")
    def _looks_back_at_what_it_reads(self) -> FeatureGroup:
        if self.lookback_hours and not {"ads", "sellers"} & set(self.inputs):
            raise ValueError(f"group {self.name}: lookback_hours is for a group that reads ads or sellers")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in packing order."""
        return tuple(f.name for f in self.features)

    @property
    def lag(self) -> timedelta:
        """How long after its inputs are whole a row of this group may be seen."""
        return timedelta(minutes=self.lag_minutes)

    @property
    def lookback(self) -> timedelta:
        """How far before an hour its query may look into ads and sellers."""
        return timedelta(hours=self.lookback_hours)

    @property
    def fingerprint(self) -> str:
        """Of the packing layout of this group alone: travels with every online row and feature manifest."""
        return sha256_json([self.name, self.entity, *((f.name, f.dtype) for f in self.features)])


class Registry(FrozenModel):
    """All groups, in declaration order."""

    groups: tuple[FeatureGroup, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Registry:
        names = [f.name for g in self.groups for f in g.features]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"features declared more than once: {', '.join(twice)}")
        return self

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features in serving-vector order."""
        return tuple(f for g in self.groups for f in g.features)

    @property
    def fingerprint(self) -> str:
        """Of the whole serving vector's layout; travels with every model."""
        return sha256_json([g.fingerprint for g in self.groups])

    def group(self, name: str) -> FeatureGroup:
        """The group of that name."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(f"no feature group {name!r}; the registry has {', '.join(g.name for g in self.groups)}")

    def in_store(self, store: Store) -> tuple[FeatureGroup, ...]:
        """Groups that ``store`` serves."""
        return tuple(g for g in self.groups if g.store == store)

    def with_input(self, source: Input) -> tuple[FeatureGroup, ...]:
        """Groups that are computed from ``source``."""
        return tuple(g for g in self.groups if source in g.inputs)

    def require(self, fingerprint: str, names: Iterable[str], what: str) -> None:
        """Refuse ``what`` when it was built against another registry, naming the features that differ."""
        if fingerprint == self.fingerprint:
            return
        theirs, ours = set(names), {f.name for f in self.features}
        raise RegistryMismatchError(
            f"{what} was built against feature registry {fingerprint[:12]}, this one is {self.fingerprint[:12]}; "
            f"only there: {', '.join(sorted(theirs - ours)) or 'none'}; "
            f"only here: {', '.join(sorted(ours - theirs)) or 'none'}"
        )


def user_category(user_id: str | None, category: str | None) -> str | None:
    """How the entity that is made of both ids is spelled in SQL, online keys and training: ``<user>|<category>``.

    ``%`` and ``|`` of the user id are escaped, so that the first ``|`` parts them. None where either is unknown: there
    is no such entity then.
    """
    if user_id is None or category is None:
        return None
    return f"{user_id.replace('%', '%25').replace('|', '%7C')}|{category}"


def parse(text: str) -> Registry:
    """Read a registry from YAML text."""
    declared = yaml.safe_load(text)
    return Registry(groups=tuple({"name": name, **body} for name, body in declared["groups"].items()))


@cache
def load() -> Registry:
    """The registry of this installation."""
    return parse(resources.files(__package__).joinpath("features.yaml").read_text(encoding="utf-8"))
