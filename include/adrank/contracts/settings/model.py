"""Settings of the model: where its jobs run, what it learns from, what it must show offline."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from adrank.contracts.base import FrozenModel


class SageMaker(FrozenModel):
    """Where jobs and endpoints run."""

    role_arn: str = "arn:aws:iam::000000000000:role/adrank-sagemaker"
    training_image: str = "000000000000.dkr.ecr.eu-west-1.amazonaws.com/adrank-training:current"
    serving_image: str = "000000000000.dkr.ecr.eu-west-1.amazonaws.com/adrank-serving:current"
    processing_instance: str = "ml.m5.2xlarge"
    training_instance: str = "ml.m5.4xlarge"
    serving_instance: str = "ml.c5.xlarge"
    staging_instances: int = Field(default=1, ge=1)
    production_instances: int = Field(default=2, ge=1)
    job_timeout: timedelta = timedelta(hours=4)
    poll_seconds: float = Field(default=30, gt=0)
    production_endpoint: str = "adrank-ranking-production"
    staging_endpoint: str = "adrank-ranking-staging"


class Labels(FrozenModel):
    """What an impression's label is worth: the weights of the objectives."""

    click: float = Field(default=1, ge=0)
    contact: float = Field(default=4, ge=0)
    revenue: float = Field(default=0.5, ge=0, description="per log1p(currency unit)")
    maturity: timedelta = Field(default=timedelta(hours=1), description="how long an impression waits for its answers")
    max_grade: int = Field(default=30, ge=1, le=30)


class Training(FrozenModel):
    """The training window and the model's hyperparameters."""

    window_days: int = Field(default=28, ge=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="the newest part of the window's queries")
    folds: int = Field(default=3, ge=1, description="expanding by-time folds that the report shows")
    num_boost_round: int = Field(default=300, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    num_leaves: int = Field(default=31, ge=2)
    min_data_in_leaf: int = Field(default=50, ge=1)
    seed: int = 20
    mlflow_tracking_uri: str = "http://mlflow.internal:5000"
    mlflow_experiment: str = "adrank-ranking"
    registered_model: str = "ranking-model"


class Gate(FrozenModel):
    """What a candidate must show offline. ``min_ndcg_at_10`` is an absolute floor, unset unless a team wants one."""

    min_ndcg_at_10: float | None = Field(default=None, ge=0, le=1)
    min_positive_queries: int = Field(default=200, ge=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_propensity: float = Field(
        default=0.3, gt=0, le=1, description="least examination that an answer is weighted by"
    )
    margins: dict[str, float] = Field(
        default_factory=lambda: {"relevance": 0.0, "contact": -0.01, "revenue": -0.01},
        description="objective -> least acceptable lower bound of NDCG@10(candidate) - NDCG@10(production)",
    )
