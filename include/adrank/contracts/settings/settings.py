"""All settings of a process, read once from its environment."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import quote

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adrank.contracts.base import FrozenModel
from adrank.contracts.settings.features import Audit, Emr, Expectations, Lake, Online
from adrank.contracts.settings.ingestion import Billing, Cdc, Events
from adrank.contracts.settings.model import Gate, Labels, SageMaker, Training
from adrank.contracts.settings.release import Approval, ExperimentPlan, Rollout

_PREFIX = "ADRANK_"


class Airflow(FrozenModel):
    """How the DAGs behave on a shared cluster."""

    emr_pool: str = "adrank_emr"
    sagemaker_pool: str = "adrank_sagemaker"
    queue: str = "default"
    retries: int = Field(default=2, ge=0)
    retry_delay: timedelta = timedelta(minutes=2)
    spark_conn_id: str = Field(default="adrank_spark", description="where a backfill may submit instead of EMR")
    features_start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    features_check_cron: str = "30 1 * * *"
    training_cron: str = "0 4 * * 1"
    training_start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    aws_conn_id: str = "aws_default"
    mlflow_conn_id: str = "adrank_mlflow"
    viewer_role: str = "Viewer"
    operator_role: str = "Op"
    raw_ready_timeout: timedelta = timedelta(hours=6)
    min_defer_seconds: float = Field(default=5, ge=0, description="least time that a deferred task stays deferred")


class Settings(BaseSettings):
    """All sections. Build it once per process with :func:`load`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    region: str = "eu-west-1"
    lake: Lake = Lake()
    emr: Emr = Emr()
    online: Online = Online()
    expectations: Expectations = Expectations()
    audit: Audit = Audit()
    sagemaker: SageMaker = SageMaker()
    events: Events = Events()
    cdc: Cdc = Cdc()
    billing: Billing = Billing()
    labels: Labels = Labels()
    training: Training = Training()
    gate: Gate = Gate()
    experiment: ExperimentPlan = ExperimentPlan()
    approval: Approval = Approval()
    rollout: Rollout = Rollout()
    airflow: Airflow = Airflow()

    def browse(self, key: str) -> str:
        """Where people read an object of the lake."""
        return self.lake.browse_url.format(bucket=self.lake.bucket, region=self.region, key=quote(key, safe="/="))

    @model_validator(mode="after")
    def _names_are_known(self) -> Settings:
        sections = {f"{_PREFIX}{name}".upper() for name in type(self).model_fields}
        unknown = [
            key for key in os.environ if key.upper().startswith(_PREFIX) and key.upper().split("__")[0] not in sections
        ]
        if unknown:
            raise ValueError(f"unknown settings in the environment: {', '.join(sorted(unknown))}")
        return self


@cache
def load() -> Settings:
    """The settings of this process."""
    return Settings()
