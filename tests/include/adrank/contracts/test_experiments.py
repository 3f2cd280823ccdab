"""Who is treated in an experiment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from adrank.contracts.experiments import Experiment, assign, bucket

USERS = [f"user-{n}" for n in range(20_000)]


def test_a_user_stays_in_the_same_variant() -> None:
    assert [assign("salt", 0.5, user) for user in USERS[:100]] == [assign("salt", 0.5, user) for user in USERS[:100]]


def test_the_assignment_is_pinned_so_that_no_release_reshuffles_a_running_experiment() -> None:
    assert [bucket("salt", user) for user in USERS[:4]] == [9387, 2642, 7471, 4695]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_share_of_treated_users_is_the_configured_one(share: float) -> None:
    treated = sum(assign("salt", share, user) == "treatment" for user in USERS)
    four_sigma = 4 * (len(USERS) * share * (1 - share)) ** 0.5
    assert abs(treated - share * len(USERS)) < four_sigma


def test_a_larger_share_keeps_everyone_who_is_already_treated() -> None:
    small = {user for user in USERS if assign("salt", 0.05, user) == "treatment"}
    assert small <= {user for user in USERS if assign("salt", 0.5, user) == "treatment"}


def test_another_salt_mixes_users_anew() -> None:
    treated = [user for user in USERS if assign("one", 0.5, user) == "treatment"]
    again = sum(assign("two", 0.5, user) == "treatment" for user in treated)
    assert abs(again / len(treated) - 0.5) < 0.02


def test_salt_and_user_do_not_run_into_each_other() -> None:
    assert bucket("ab", "c") != bucket("a", "bc")


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_an_experiment_without_both_variants_is_refused(share: float) -> None:
    document = {
        "experiment_id": "e",
        "salt": "s",
        "treatment_share": 0.5,
        "control_endpoint": "production",
        "treatment_endpoint": "staging",
        "start": datetime(2026, 3, 1, tzinfo=UTC).isoformat(),
        "status": "running",
        "package_digest": "d",
    }
    Experiment.model_validate(document)
    with pytest.raises(ValidationError, match="treatment_share"):
        Experiment.model_validate({**document, "treatment_share": share})
