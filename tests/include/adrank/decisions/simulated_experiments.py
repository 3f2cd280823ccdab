"""Many A/B experiments at once: users who come back, who differ in readiness, and who are looked at every hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from adrank.decisions.experiment import METRICS, ExperimentStatistics, MetricSums, VariantStatistics

START = datetime(2026, 3, 2, tzinfo=UTC)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """Sums per ``[looks, experiments, variant]``, variant 0 is control."""

    users: Floats
    searches: Floats
    searches_squares: Floats
    contacts: Floats
    contacts_squares: Floats
    contacts_with_searches: Floats
    share: float

    def statistics(self, look: int, experiment: int) -> ExperimentStatistics:
        def variant(v: int) -> VariantStatistics:
            at = look, experiment, v
            contacts = MetricSums(
                total=self.contacts[at], squares=self.contacts_squares[at],
                with_searches=self.contacts_with_searches[at],
            )  # fmt: skip
            return VariantStatistics(
                users=int(self.users[at]),
                searches=self.searches[at],
                searches_squares=self.searches_squares[at],
                metrics={metric: contacts if metric == "contacts" else MetricSums() for metric in METRICS},
            )

        return ExperimentStatistics(
            experiment_id=f"e{experiment}",
            treatment_share=self.share,
            start=START,
            end=START + timedelta(hours=look + 1),
            variants={"control": variant(0), "treatment": variant(1)},
        )


def simulate(
    *,
    experiments: int,
    users: int,
    searches_per_user: float,
    contact_rate: float,
    lift: float = 0.0,
    looks: int = 24,
    share: float = 0.5,
    spread: float = 2.0,
    seed: int = 7,
) -> Simulated:
    """``spread`` is the strength of the beta from which a user's contact rate comes: smaller differs more."""
    rng = np.random.default_rng(seed)
    treated = rng.random((experiments, users)) < share
    own = rng.beta(spread * contact_rate, spread * (1 - contact_rate), (experiments, users))
    rate = np.minimum(own * np.where(treated, 1 + lift, 1.0), 1.0)
    activity = rng.gamma(1.0, searches_per_user / looks, (experiments, users))
    searches = np.zeros((experiments, users))
    contacts = np.zeros((experiments, users))
    sums: list[list[Floats]] = []
    for _ in range(looks):
        new = rng.poisson(activity)
        searches += new
        contacts += rng.binomial(new, rate)
        per_user = (searches > 0, searches, searches**2, contacts, contacts**2, contacts * searches)
        sums.append([np.stack([(x * ~treated).sum(1), (x * treated).sum(1)], axis=-1) for x in per_user])
    users_sum, *rest = (np.array([look[i] for look in sums]) for i in range(6))
    searches_sum, searches_squares, contacts_sum, contacts_squares, with_searches = rest
    return Simulated(users_sum, searches_sum, searches_squares, contacts_sum, contacts_squares, with_searches, share)


def naive_z(simulated: Simulated) -> Floats:
    """z of the test that takes every search for an independent trial, ``[looks, experiments]``."""
    n, x = simulated.searches, simulated.contacts
    pooled = x.sum(-1) / n.sum(-1)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n[..., 0] + 1 / n[..., 1]))
    return np.asarray((x[..., 1] / n[..., 1] - x[..., 0] / n[..., 0]) / error)
