"""The arguments of the jobs of the training image."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from adrank.contracts.base import FrozenModel
from adrank.contracts.entry_points.command_line import EntryPointArguments, Time, setting
from adrank.contracts.experiments import Experiment
from adrank.contracts.settings import Billing, Gate, Labels

if TYPE_CHECKING:
    from adrank.contracts.settings import Settings


class _OnBilledRevenue(EntryPointArguments):
    billing_maturity: timedelta = setting(
        lambda s: s.billing.maturity,
        default=Billing().maturity,
        description="after this an unbilled event earned nothing",
    )


class BuildTrainingSet(_OnBilledRevenue):
    """Build a point-in-time training set."""

    program = "training.build_training_set"

    as_of: Time
    window_days: int = setting(lambda s: s.training.window_days)
    test_fraction: float = setting(lambda s: s.training.test_fraction)
    labels: Labels = setting(lambda s: s.labels)


class Evaluate(EntryPointArguments):
    """Measure a candidate for the gate."""

    program = "training.evaluate"

    confidence: float = setting(lambda s: s.gate.confidence, default=Gate().confidence)
    min_propensity: float = setting(lambda s: s.gate.min_propensity, default=Gate().min_propensity)
    candidate_digest: str = Field(default="", description="what the candidate's package must be")
    production_digest: str = Field(default="", description="what production's package must be; empty without one")


class MeasureExperiment(_OnBilledRevenue):
    """Measure one look at an experiment."""

    program = "training.measure_experiment"

    experiment: Experiment
    start: Time
    end: Time


class Hyperparameters(FrozenModel):
    """What a model is trained with. ``num_boost_round`` and ``num_leaves`` are upper limits; the folds choose."""

    learning_rate: float = Field(gt=0)
    num_leaves: int = Field(ge=2)
    min_data_in_leaf: int = Field(ge=1)
    num_boost_round: int = Field(ge=1)
    seed: int
    folds: int = Field(ge=1)


class TrainHyperparameters(Hyperparameters):
    """All hyperparameters of the training job: the model's, and where the run is kept."""

    mlflow_experiment: str
    run_name: str

    @classmethod
    def from_settings(cls, settings: Settings) -> dict[str, str]:
        """What settings decide, all but ``run_name``; SageMaker carries strings only."""
        given = settings.training.model_dump(include=set(cls.model_fields))
        return {name: str(value) for name, value in given.items()}
