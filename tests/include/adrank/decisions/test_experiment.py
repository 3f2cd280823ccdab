"""The verdict of a look: promote, reject, extend or invalid, each for its reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adrank.contracts.settings import ExperimentPlan
from adrank.decisions import experiment
from adrank.decisions.experiment import (
    ExperimentStatistics,
    ExperimentVerdict,
    Metric,
    MetricSums,
    VariantStatistics,
    judge,
    relative_lift,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
PLAN = ExperimentPlan(share=0.5, guardrail_margins={"revenue": -0.05}, min_users_per_variant=100)


def variant(users: int = 20_000, **totals: float) -> VariantStatistics:
    """Users with two searches each; a metric's total is spread over users who have one each."""
    return VariantStatistics(
        users=users,
        searches=2 * users,
        searches_squares=4 * users,
        metrics={
            metric: MetricSums(total=t, squares=t, with_searches=2 * t)
            for metric, t in ((m, totals.get(m, 0.0)) for m in experiment.METRICS)
        },
    )


def statistics(control: VariantStatistics, treatment: VariantStatistics, **more: Any) -> ExperimentStatistics:
    return ExperimentStatistics(
        **{
            "experiment_id": "e1",
            "treatment_share": 0.5,
            "start": START,
            "end": START + DAY,
            "variants": {"control": control, "treatment": treatment},
            **more,
        }
    )


BETTER = statistics(variant(contacts=4000, revenue=3000), variant(contacts=6000, revenue=3600))


def verdict(of: ExperimentStatistics, elapsed: timedelta = DAY, final: bool = False) -> ExperimentVerdict:
    return judge(of, PLAN, elapsed, final)


class TestPromote:
    def test_a_clearly_better_treatment_after_the_full_duration(self) -> None:
        found = verdict(BETTER)
        assert found.verdict == "promote"
        assert found.lifts["contacts"].lift == pytest.approx(0.5)
        assert any("contacts per search 0.1 to 0.15, +50.0%" in reason for reason in found.reasons)
        assert any("guardrail revenue" in reason and "holds" in reason for reason in found.reasons)

    def test_never_before_the_duration_however_clear(self) -> None:
        found = verdict(BETTER, DAY - HOUR)
        assert found.verdict == "extend"
        assert "23:00:00 of 1 day, 0:00:00 have passed" in found.reasons

    def test_not_while_a_guardrail_is_undecided(self) -> None:
        found = verdict(statistics(variant(contacts=4000, revenue=90), variant(contacts=6000, revenue=90)))
        assert found.verdict == "extend"
        assert "guardrail revenue" in found.reasons[0]
        assert "undecided" in found.reasons[0]

    def test_a_metric_that_nobody_has_does_not_block_and_is_named(self) -> None:
        found = verdict(statistics(variant(contacts=4000), variant(contacts=6000)))
        assert found.verdict == "promote"
        assert "guardrail revenue: none in either variant, not judged" in found.reasons
        assert "revenue" not in found.lifts


class TestReject:
    def test_a_worse_treatment_at_any_look(self) -> None:
        found = verdict(statistics(variant(contacts=6000), variant(contacts=4000)), 2 * HOUR)
        assert found.verdict == "reject"
        assert "worse" in found.reasons[0]

    def test_a_violated_guardrail_at_any_look_though_the_primary_metric_is_better(self) -> None:
        found = verdict(statistics(variant(contacts=4000, revenue=4000), variant(contacts=6000, revenue=2000)), HOUR)
        assert found.verdict == "reject"
        assert "guardrail revenue" in found.reasons[0]
        assert "violated" in found.reasons[0]


class TestExtend:
    def test_no_difference_is_undecided_and_never_fine(self) -> None:
        found = verdict(statistics(variant(contacts=4000), variant(contacts=4010)))
        assert found.verdict == "extend"
        assert "undecided" in found.reasons[0]

    def test_at_the_last_date_it_says_so(self) -> None:
        same = statistics(variant(contacts=4000), variant(contacts=4010))
        assert verdict(same, 3 * DAY, final=True).reasons[-1] == "undecided by the last date"
        assert verdict(same, 3 * DAY, final=True).verdict == "extend"
        assert "undecided by the last date" not in verdict(same).reasons

    def test_too_few_users_decide_nothing(self) -> None:
        found = verdict(statistics(variant(users=99, contacts=0), variant(users=101, contacts=101)))
        assert found.verdict == "extend"
        assert found.reasons == ("control has only 99 users, 100 are needed",)

    def test_a_primary_metric_that_nobody_has(self) -> None:
        found = verdict(statistics(variant(), variant()))
        assert (found.verdict, found.reasons[0]) == ("extend", "contacts: none in either variant")

    def test_a_metric_that_only_one_variant_has_gives_no_interval(self) -> None:
        found = verdict(statistics(variant(contacts=0), variant(contacts=9)))
        assert found.verdict == "extend"
        assert found.lifts["contacts"].lower is None
        assert "no interval yet" in found.reasons[0]


class TestInvalid:
    def test_a_split_that_is_not_the_configured_one(self) -> None:
        found = verdict(statistics(variant(users=21_000, contacts=4000), variant(users=19_000, contacts=6000)))
        assert found.verdict == "invalid"
        assert "treatment has 47.50% of 40000 users, 50.00% was configured" in found.reasons[0]

    def test_the_split_is_tested_against_the_configured_share_not_a_half(self) -> None:
        five = statistics(
            variant(users=38_000, contacts=4000), variant(users=2_000, contacts=400), treatment_share=0.05
        )
        assert verdict(five).verdict != "invalid"
        half = five.model_copy(update={"treatment_share": 0.5})
        assert verdict(half).verdict == "invalid"

    def test_users_in_both_variants_mean_that_assignment_was_not_sticky(self) -> None:
        assert verdict(BETTER.model_copy(update={"crossovers": 300})).verdict == "promote"
        found = verdict(BETTER.model_copy(update={"crossovers": 500}))
        assert found.verdict == "invalid"
        assert "500 of 40500 users were seen in both variants" in found.reasons[0]


class TestInterval:
    def test_the_delta_method_by_hand(self) -> None:
        """Three users with (searches, contacts) (1, 1), (2, 0), (3, 2) against (1, 1), (1, 1), (2, 2)."""

        def of(pairs: list[tuple[int, int]]) -> VariantStatistics:
            contacts = MetricSums(
                total=sum(x for _, x in pairs),
                squares=sum(x * x for _, x in pairs),
                with_searches=sum(n * x for n, x in pairs),
            )
            return VariantStatistics(
                users=len(pairs),
                searches=sum(n for n, _ in pairs),
                searches_squares=sum(n * n for n, _ in pairs),
                metrics={"clicks": MetricSums(), "contacts": contacts, "revenue": MetricSums()},
            )

        lift = relative_lift(
            statistics(of([(1, 1), (2, 0), (3, 2)]), of([(1, 1), (1, 1), (2, 2)])), "contacts", 0.05, 0.1
        )
        assert lift is not None
        assert lift.lower is not None
        assert (lift.control, lift.treatment) == (0.5, 1.0)
        assert lift.lift == pytest.approx(1.0)
        # Control residuals x - n/2: 0.5, -1, 0.5; their variance 1.5 / 2; of the ratio 0.75 * 3 / 6^2; / 0.5^2.
        variance, tau2 = 0.75 * 3 / 36 / 0.25, math.log(1.1) ** 2
        half = math.sqrt(
            variance * (variance + tau2) / tau2 * (math.log((variance + tau2) / variance) - 2 * math.log(0.05))
        )
        assert lift.lower == pytest.approx(math.exp(math.log(2) - half) - 1)

    def test_more_users_narrow_the_interval(self) -> None:
        widths = []
        for users in (1_000, 10_000, 100_000):
            same = statistics(variant(users=users, contacts=users / 5), variant(users=users, contacts=users / 5))
            lift = relative_lift(same, "contacts", 0.05, 0.1)
            assert lift is not None
            assert lift.lower is not None
            assert lift.upper is not None
            widths.append(lift.upper - lift.lower)
        assert widths == sorted(widths, reverse=True)


def test_a_stored_look_replays_to_the_same_verdict() -> None:
    stored, plan = BETTER.model_dump_json(), PLAN.model_dump_json()
    again = judge(
        ExperimentStatistics.model_validate_json(stored), ExperimentPlan.model_validate_json(plan), DAY, False
    )
    assert again == verdict(BETTER)
    assert ExperimentVerdict.model_validate_json(again.model_dump_json()) == again


def test_an_unknown_guardrail_is_named() -> None:
    plan = PLAN.model_copy(update={"guardrail_margins": {"joy": -0.1}})
    with pytest.raises(ValueError, match="guardrail 'joy' is no metric"):
        judge(BETTER, plan, DAY, False)


def test_statistics_without_a_variant_or_metric_are_refused() -> None:
    with pytest.raises(ValidationError, match="need control and treatment, got control"):
        ExperimentStatistics.model_validate(BETTER.model_dump() | {"variants": {"control": variant().model_dump()}})
    metrics: dict[Metric, MetricSums] = {"clicks": MetricSums()}
    with pytest.raises(ValidationError, match="lack contacts, revenue"):
        VariantStatistics(users=1, metrics=metrics)


def test_the_verdict_says_how_much_revenue_may_yet_be_billed() -> None:
    half = {name: v.model_copy(update={"provisional_revenue": 1650.0}) for name, v in BETTER.variants.items()}
    seen = judge(BETTER.model_copy(update={"variants": half}), PLAN, DAY, False)
    assert seen.provisional_revenue_share == pytest.approx(0.5)
    nothing = judge(statistics(variant(contacts=4000), variant(contacts=6000)), PLAN, DAY, False)
    assert nothing.provisional_revenue_share is None


def test_the_verdict_says_what_was_billed_for_no_answer() -> None:
    lost = BETTER.model_copy(update={"unmatched_events": 3, "unmatched_revenue": 12.5})
    seen = judge(lost, PLAN, DAY, False)
    assert (seen.unmatched_events, seen.unmatched_revenue) == (3, 12.5)
