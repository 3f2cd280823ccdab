"""The A/B verdict: promote, reject, extend or invalid, at any look, however often one looks.

- The unit is the user: sums are per user, and a metric is a ratio (answers per search) whose variance comes from the
  delta method, because a user's searches are not independent of each other.
- Effects are relative lifts, estimated on the log scale. Intervals are always valid (normal mixture, mSPRT): over
  all looks together they miss the truth with probability ``alpha`` at most, so looking hourly costs nothing.
- The split is tested against the *configured* share by a beta-binomial Bayes factor, valid at every look as well.
- A guardrail is non-inferiority: it holds when its whole interval lies above its margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import Field, model_validator

from adrank.contracts.base import FrozenModel
from adrank.contracts.experiments import Variant
from adrank.contracts.settings import ExperimentPlan

Metric = Literal["clicks", "contacts", "revenue"]
METRICS: Final[tuple[Metric, ...]] = ("clicks", "contacts", "revenue")

#: Prior users behind the split test: how far from the configured share the alternative likes to look.
_SPLIT_CONCENTRATION: Final = 100.0
#: Share of users seen in both variants above which assignment was not sticky.
_MAX_CROSSOVERS: Final = 0.01


class MetricSums(FrozenModel):
    """Sums over users of a metric ``x``: of x, of x squared, and of x times the user's searches."""

    total: float = 0
    squares: float = 0
    with_searches: float = 0


class VariantStatistics(FrozenModel):
    """Sums over the users of one variant. ``provisional_revenue`` is the part of its revenue that may yet be billed."""

    users: int = Field(ge=0)
    searches: float = Field(default=0, ge=0)
    searches_squares: float = Field(default=0, ge=0)
    provisional_revenue: float = 0
    metrics: dict[Metric, MetricSums]

    @model_validator(mode="after")
    def _has_every_metric(self) -> VariantStatistics:
        missing = [metric for metric in METRICS if metric not in self.metrics]
        if missing:
            raise ValueError(f"statistics lack {', '.join(missing)}")
        return self


class ExperimentStatistics(FrozenModel):
    """One look at event time ``[start, end)``. ``crossovers`` are users seen in both variants, who are left out.

    ``unmatched_events`` were billed ``unmatched_revenue`` and are no answer of anybody's in the log.
    """

    experiment_id: str
    treatment_share: float = Field(gt=0, lt=1)
    start: datetime
    end: datetime
    variants: dict[Variant, VariantStatistics]
    crossovers: int = Field(default=0, ge=0)
    unmatched_events: int = Field(default=0, ge=0)
    unmatched_revenue: float = 0

    @model_validator(mode="after")
    def _has_both_variants(self) -> ExperimentStatistics:
        if set(self.variants) != {"control", "treatment"}:
            raise ValueError(f"statistics need control and treatment, got {', '.join(sorted(self.variants)) or 'none'}")
        return self

    @property
    def provisional_revenue_share(self) -> float | None:
        """How much of the look's revenue may yet change when it is billed; None where there is no revenue."""
        variants = self.variants.values()
        total = sum(variant.metrics["revenue"].total for variant in variants)
        return sum(variant.provisional_revenue for variant in variants) / total if total > 0 else None


class Lift(FrozenModel):
    """A metric per search in both variants and treatment's relative lift; null bounds are unbounded."""

    control: float
    treatment: float
    lift: float | None
    lower: float | None
    upper: float | None


class ExperimentVerdict(FrozenModel):
    """``extend`` is the answer while the data decides nothing, at the last date too.

    ``provisional_revenue_share`` is the part of all revenue that may yet be billed; null where there is none. What was
    billed for no answer of the log is in neither variant's revenue.
    """

    verdict: Literal["promote", "reject", "extend", "invalid"]
    reasons: tuple[str, ...]
    lifts: dict[Metric, Lift]
    users: dict[Variant, int]
    split_p_value: float
    elapsed_hours: float
    provisional_revenue_share: float | None = None
    unmatched_events: int = 0
    unmatched_revenue: float = 0


def judge(statistics: ExperimentStatistics, plan: ExperimentPlan, elapsed: timedelta, final: bool) -> ExperimentVerdict:
    """The verdict of one look, ``elapsed`` event time after the start; ``final`` when the last date is reached."""
    lifts = {metric: relative_lift(statistics, metric, plan.alpha, plan.expected_lift) for metric in METRICS}
    users: dict[Variant, int] = {name: variant.users for name, variant in statistics.variants.items()}
    p_value = split_p_value(users["control"], users["treatment"], statistics.treatment_share)

    def verdict(answer: Literal["promote", "reject", "extend", "invalid"], reasons: list[str]) -> ExperimentVerdict:
        return ExperimentVerdict(
            verdict=answer,
            reasons=tuple(reasons),
            lifts={metric: lift for metric, lift in lifts.items() if lift is not None},
            users=users,
            split_p_value=p_value,
            elapsed_hours=elapsed / timedelta(hours=1),
            provisional_revenue_share=statistics.provisional_revenue_share,
            unmatched_events=statistics.unmatched_events,
            unmatched_revenue=statistics.unmatched_revenue,
        )

    broken = _broken(statistics, users, p_value, plan)
    if broken:
        return verdict("invalid", broken)
    needed = plan.min_users_per_variant
    few = [f"{name} has only {n} users, {needed} are needed" for name, n in users.items() if n < needed]
    if few:
        return verdict("extend", [*few, *_last_word(final)])

    good, bad, open_ = _primary(lifts, plan)
    for metric, margin in plan.guardrail_margins.items():
        held, violated, undecided = _guardrail(metric, margin, lifts)
        good, bad, open_ = good + held, bad + violated, open_ + undecided
    if bad:
        return verdict("reject", [*bad, *good, *open_])
    if open_:
        return verdict("extend", [*open_, *good, *_last_word(final)])
    if elapsed < plan.duration:
        return verdict("extend", [f"{elapsed} of {plan.duration} have passed", *good, *_last_word(final)])
    return verdict("promote", good)


def relative_lift(statistics: ExperimentStatistics, metric: Metric, alpha: float, expected_lift: float) -> Lift | None:
    """The metric's lift with its always-valid interval; None when neither variant has any of it.

    A metric that only one variant has, or with fewer than two users in one, has no finite interval yet.
    """
    control, treatment = statistics.variants["control"], statistics.variants["treatment"]
    if control.metrics[metric].total == 0 and treatment.metrics[metric].total == 0:
        return None
    ratios = {name: _ratio(variant, metric) for name, variant in statistics.variants.items()}
    (rate_c, variance_c), (rate_t, variance_t) = ratios["control"], ratios["treatment"]
    if rate_c <= 0 or rate_t <= 0 or min(control.users, treatment.users) < 2:
        return Lift(control=rate_c, treatment=rate_t, lift=None, lower=None, upper=None)
    log_lift = math.log(rate_t / rate_c)
    variance = variance_c / rate_c**2 + variance_t / rate_t**2
    half = mixture_half_width(variance, math.log1p(expected_lift) ** 2, alpha)
    return Lift(
        control=rate_c,
        treatment=rate_t,
        lift=math.expm1(log_lift),
        lower=math.expm1(log_lift - half),
        upper=math.expm1(log_lift + half),
    )


def mixture_half_width(variance: float, mixture_variance: float, alpha: float) -> float:
    """Half width of the always-valid interval around an estimate that has ``variance`` at this look."""
    total = variance + mixture_variance
    return math.sqrt(variance * total / mixture_variance * (math.log(total / variance) - 2 * math.log(alpha)))


def split_p_value(control: int, treatment: int, share: float) -> float:
    """Always-valid p-value of the configured split: 1 over the Bayes factor of a beta mixture around ``share``."""
    n = control + treatment
    a, b = _SPLIT_CONCENTRATION * share, _SPLIT_CONCENTRATION * (1 - share)
    log_factor = _log_beta(a + treatment, b + control) - _log_beta(a, b)
    log_factor -= treatment * math.log(share) + control * math.log1p(-share)
    return min(1.0, math.exp(-log_factor)) if n and log_factor > 0 else 1.0


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _ratio(variant: VariantStatistics, metric: Metric) -> tuple[float, float]:
    """Metric per search and its variance by the delta method over users."""
    users, sums = variant.users, variant.metrics[metric]
    if users < 2 or variant.searches == 0:
        return 0.0, math.inf
    rate = sums.total / variant.searches
    # Residuals x - rate * searches sum to zero, so their mean square is their variance.
    residual_squares = sums.squares - 2 * rate * sums.with_searches + rate**2 * variant.searches_squares
    variance = max(residual_squares, 0.0) / (users - 1)
    return rate, max(variance * users / variant.searches**2, 1e-18)


def _broken(
    statistics: ExperimentStatistics, users: Mapping[Variant, int], p_value: float, plan: ExperimentPlan
) -> list[str]:
    reasons = []
    everyone = sum(users.values()) + statistics.crossovers
    if p_value < plan.srm_alpha:
        got = users["treatment"] / sum(users.values())
        reasons.append(
            f"sample ratio: treatment has {got:.2%} of {sum(users.values())} users, "
            f"{statistics.treatment_share:.2%} was configured (p = {p_value:.2g})"
        )
    # A handful of crossovers among the first few users says nothing yet.
    if statistics.crossovers > max(_MAX_CROSSOVERS * everyone, 5):
        reasons.append(f"{statistics.crossovers} of {everyone} users were seen in both variants")
    return reasons


_Findings = tuple[list[str], list[str], list[str]]


def _primary(lifts: Mapping[Metric, Lift | None], plan: ExperimentPlan) -> _Findings:
    """(good, bad, open) reasons from the primary metric."""
    metric = plan.primary_metric
    lift = lifts[metric]
    if lift is None:
        return [], [], [f"{metric}: none in either variant"]
    text = _formatted(metric, lift)
    if lift.lower is not None and lift.lower > 0:
        return [f"{text}: better"], [], []
    if lift.upper is not None and lift.upper < 0:
        return [], [f"{text}: worse"], []
    return [], [], [f"{text}: undecided"]


def _guardrail(metric: str, margin: float, lifts: Mapping[Metric, Lift | None]) -> _Findings:
    """(good, bad, open) reasons from one guardrail."""
    by_name = {str(name): lift for name, lift in lifts.items()}
    if metric not in by_name:
        raise ValueError(f"guardrail {metric!r} is no metric; there are {', '.join(METRICS)}")
    lift = by_name[metric]
    if lift is None:
        return [f"guardrail {metric}: none in either variant, not judged"], [], []
    text = f"guardrail {_formatted(metric, lift)}, margin {margin:+.1%}"
    if lift.lower is not None and lift.lower >= margin:
        return [f"{text}: holds"], [], []
    if lift.upper is not None and lift.upper < margin:
        return [], [f"{text}: violated"], []
    return [], [], [f"{text}: undecided"]


def _formatted(metric: str, lift: Lift) -> str:
    if lift.lift is None or lift.lower is None or lift.upper is None:
        return f"{metric} per search {lift.control:.4g} to {lift.treatment:.4g} (no interval yet)"
    rates = f"{lift.control:.4g} to {lift.treatment:.4g}"
    return f"{metric} per search {rates}, {lift.lift:+.1%} [{lift.lower:+.1%}, {lift.upper:+.1%}]"


def _last_word(final: bool) -> list[str]:
    return ["undecided by the last date"] if final else []
