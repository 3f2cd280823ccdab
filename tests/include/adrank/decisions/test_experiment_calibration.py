"""Looking every hour must not cost truth: false alarms and power over simulated experiments."""

from __future__ import annotations

import numpy as np
import pytest

from adrank.decisions.experiment import relative_lift, split_p_value
from tests.include.adrank.decisions.simulated_experiments import Simulated, naive_z, simulate

ALPHA = 0.05
EXPERIMENTS = 400


@pytest.fixture(scope="module")
def without_effect() -> Simulated:
    return simulate(experiments=EXPERIMENTS, users=600, searches_per_user=5, contact_rate=0.12)


def alarm(simulated: Simulated, experiment: int, expected_lift: float) -> bool:
    """Whether any look's interval excludes no effect."""
    for look in range(len(simulated.users)):
        lift = relative_lift(simulated.statistics(look, experiment), "contacts", ALPHA, expected_lift)
        if lift is not None and lift.lower is not None and lift.upper is not None and not lift.lower <= 0 <= lift.upper:
            return True
    return False


@pytest.mark.parametrize("expected_lift", [0.1, 0.4])
def test_an_a_a_test_alarms_at_most_alpha_of_the_time_over_all_its_looks(
    without_effect: Simulated, expected_lift: float
) -> None:
    alarms = sum(alarm(without_effect, e, expected_lift) for e in range(EXPERIMENTS))
    assert alarms / EXPERIMENTS <= ALPHA


def test_a_fixed_horizon_test_on_searches_alarms_far_too_often_on_the_same_data(without_effect: Simulated) -> None:
    z = np.abs(naive_z(without_effect))
    assert (z[-1] > 1.96).mean() > 3 * ALPHA, "one look: searches of one user are not independent"
    assert (z.max(axis=0) > 1.96).mean() > 6 * ALPHA, "24 looks on top of it"


@pytest.mark.parametrize("expected_lift", [0.1, 0.4])
def test_a_lift_of_40_percent_shows_in_6000_searches(expected_lift: float) -> None:
    found = simulate(
        experiments=200, users=3000, searches_per_user=2, contact_rate=0.2, lift=0.4, looks=1, spread=10, seed=3
    )
    lifts = [relative_lift(found.statistics(0, e), "contacts", ALPHA, expected_lift) for e in range(200)]
    assert np.mean([lift is not None and lift.lower is not None and lift.lower > 0 for lift in lifts]) > 0.9
    covered = [lift is not None and lift.lower is not None and lift.lower <= 0.4 <= (lift.upper or 0) for lift in lifts]
    assert np.mean(covered) >= 1 - ALPHA


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_split_test_is_quiet_on_the_configured_share_at_every_look(share: float) -> None:
    rng = np.random.default_rng(11)
    treated = rng.random((1000, 24, 100)) < share
    counts = treated.sum(axis=2).cumsum(axis=1)
    alarms = [
        any(split_p_value(100 * (look + 1) - int(k), int(k), share) < 0.01 for look, k in enumerate(row))
        for row in counts
    ]
    assert np.mean(alarms) <= 0.01


def test_the_split_test_finds_a_lost_tenth_of_treatment_users() -> None:
    rng = np.random.default_rng(12)
    treatment = rng.binomial(20_000, 0.5, 200)
    lost = rng.binomial(treatment, 0.1)
    found = [split_p_value(20_000 - t, t - gone, 0.5) < 0.001 for t, gone in zip(treatment, lost, strict=True)]
    assert np.mean(found) > 0.9
