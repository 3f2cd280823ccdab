"""Every deployment difference, in one frozen model.

Read from the environment: ``ADRANK_<FIELD>`` or ``ADRANK_<SECTION>__<FIELD>`` (lists and mappings as JSON). No I/O, no
secrets: systems that need a password are named by connection id. An impossible or unknown value fails at parse time.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX = "ADRANK_"


def _iso(duration: timedelta) -> str:
    return str(TypeAdapter(timedelta).dump_python(duration, mode="json"))


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lake(_Section):
    """The S3 bucket that holds everything, and where the jobs' code was published."""

    bucket: str = "adrank-lake"
    code_prefix: str = Field(default="code/current", description="prefix that `make publish` wrote")
    browse_url: str = Field(
        default="https://{bucket}.s3.{region}.amazonaws.com/{key}",
        description="where people read an object: what links in the Airflow UI lead to",
    )

    @field_validator("browse_url")
    @classmethod
    def _names_the_key(cls, template: str) -> str:
        try:
            told = template.format(bucket="b", region="r", key="k/")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{template}: only {{bucket}}, {{region}} and {{key}} are known") from error
        if "k/" not in told:
            raise ValueError(f"{template}: does not name the {{key}}")
        return template


class Emr(_Section):
    """The EMR cluster: found by its name tag."""

    cluster_name: str = "adrank-features"
    step_timeout: timedelta = timedelta(hours=2)
    log_timeout: timedelta = Field(
        default=timedelta(minutes=10), description="how long a failed step's log may take to reach the LogUri"
    )
    poll_seconds: float = Field(default=20, gt=0)


class Online(_Section):
    """The online stores. Their credentials come from the execution role and the secret named here."""

    redis_host: str = "redis.internal"
    redis_port: int = Field(default=6379, gt=0, lt=65536)
    redis_tls: bool = True
    redis_timeout_ms: int = Field(default=50, gt=0)
    dynamodb_timeout_ms: int = Field(default=200, gt=0)
    features_table: str = "adrank-features"
    experiments_table: str = "adrank-experiments"

    def arguments(self, region: str) -> list[str]:
        """Where the stores are, as the push job's command line names it."""
        tls = ["--redis-tls"] if self.redis_tls else []
        where = ["--redis-host", self.redis_host, "--redis-port", str(self.redis_port), *tls]
        return [*where, "--table", self.features_table, "--region", region]


class Expectations(_Section):
    """What feature partitions must be like to be pushed, beyond what the registry declares."""

    min_row_ratio: float = Field(default=0.5, gt=0, le=1, description="of an hour's rows to those of the day before")
    max_row_ratio: float = Field(default=2, ge=1, description="the same; a log's first weeks may grow with its age")
    min_rows_compared: int = Field(
        default=1000, ge=1, description="rows of the day before, below which nothing is said"
    )

    def arguments(self) -> list[str]:
        """What the validation must know, as its command line names it."""
        ratios = [str(self.min_row_ratio), str(self.max_row_ratio)]
        return ["--row-ratio", *ratios, "--min-rows-compared", str(self.min_rows_compared)]


class Audit(_Section):
    """Whether the online stores serve what the offline partitions say."""

    sample: int = Field(default=5000, ge=1, description="keys of each group that an hour's audit reads back, at most")
    served_sample: float = Field(
        default=0.01, ge=0, le=1, description="share of the requests whose stored rows the endpoints log; 0: none"
    )
    max_skew: float = Field(
        default=0.01, ge=0, le=1, description="share of any group's keys that may differ before training refuses"
    )
    max_age: timedelta = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="training asks for an audit as recent as this"
    )
    allow_unaudited: bool = Field(default=False, description="train although no recent hour was audited")

    def arguments(self) -> list[str]:
        """What the audit job must know, as its command line names it."""
        return ["--sample", str(self.sample), "--max-skew", str(self.max_skew)]


class SageMaker(_Section):
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


class Events(_Section):
    """The event log in Kafka, and when an archived hour is whole.

    Times are event time but for ``flush_interval``, ``idle_timeout`` and ``heartbeat_interval``.
    """

    brokers: str = "kafka.internal:9092"
    client: dict[str, str] = Field(
        default_factory=dict,
        description="more of librdkafka's settings (TLS, authentication by file or role); no secrets",
    )
    topic: str = "ranking-events"
    dead_letter_topic: str = "ranking-events.dead-letter"
    consumer_group: str = "adrank-archiver"
    idempotence: bool = Field(
        default=True,
        description="a producer's retry is never a second message; off, for brokers that break this promise when they "
        "crash, a retry may be one, and event_id tells",
    )
    grace: timedelta = Field(default=timedelta(minutes=10), description="how long after its end an hour stays open")
    allowed_lateness: timedelta = Field(
        default=timedelta(hours=48),
        le=timedelta(hours=90),
        description="a later event than this is dead-lettered; features are revised this far",
    )
    max_future: timedelta = Field(
        default=timedelta(hours=1), description="an event further ahead of the wall clock is poison"
    )
    clock_skew: timedelta = Field(
        default=timedelta(minutes=1),
        ge=timedelta(0),
        description="what producers' clocks may differ: no event moves a partition's clock further ahead of the wall's",
    )
    flush_rows: int = Field(default=500_000, ge=1, description="rows held in memory before files are written")
    flush_bytes: int = Field(default=128 * 2**20, ge=1, description="message bytes held before files are written")
    flush_interval: timedelta = Field(
        default=timedelta(minutes=1), description="the oldest message waits at most this long"
    )
    idle_timeout: timedelta = Field(
        default=timedelta(minutes=1),
        description="a partition that is read to its end and silent this long holds no hour",
    )
    heartbeat_interval: timedelta = Field(
        default=timedelta(seconds=30), ge=timedelta(0), description="wall-clock time; 0: somebody else beats"
    )
    schema_id: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        description="id of ranking-event.schema.json in the schema registry, set when a Connect sink reads the topic",
    )
    metrics_host: str = Field(default="127.0.0.1", description="address that serves `/metrics`")
    metrics_port: int = Field(default=9101, gt=0, lt=65536)

    @field_validator("client")
    @classmethod
    def _no_secrets(cls, client: dict[str, str]) -> dict[str, str]:
        secret = sorted(key for key in client if "password" in key or "secret" in key or key.endswith("key.pem"))
        if secret:
            raise ValueError(f"secrets do not belong into settings: {', '.join(secret)}; name a file or a role instead")
        return client

    @model_validator(mode="after")
    def _skew_is_not_poison(self) -> Events:
        if self.clock_skew > self.max_future:
            raise ValueError("clock_skew must not exceed max_future: an event further ahead is poison")
        return self


class Cdc(_Section):
    """Change data capture of the operational database. Its password is in the secret named here."""

    host: str = "marketplace-db.internal"
    port: int = Field(default=5432, gt=0, lt=65536)
    database: str = "marketplace"
    secret_id: str = Field(default="adrank/cdc", description="Secrets Manager: JSON with username and password")
    slot: str = "adrank"
    publication: str = "adrank"
    heartbeat_table: str = Field(default="adrank_heartbeat", description="its row's `beat_at` closes hours")
    heartbeat_interval: timedelta = Field(default=timedelta(seconds=30), description="0: somebody else beats")
    time_column: str | None = Field(
        default=None, description="the application's own change time, where the commit time will not do"
    )
    snapshot: Literal["initial", "no_data"] = Field(
        default="initial", description="no_data: history begins with the first change, what is there is not read"
    )
    flush_interval: timedelta = Field(
        default=timedelta(seconds=30), description="the oldest change waits at most this long"
    )
    ignored_columns: tuple[str, ...] = Field(
        default=(), description="`table.column`s that the history may leave out; any other unknown column is refused"
    )
    metrics_host: str = Field(default="127.0.0.1", description="address that serves `/metrics`")
    metrics_port: int = Field(default=9102, gt=0, lt=65536)

    @field_validator("ignored_columns")
    @classmethod
    def _table_and_column(cls, ignored: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in ignored if name.count(".") != 1 or not all(name.split("."))]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: expected table.column")
        return ignored

    def history_arguments(self) -> list[str]:
        """What jobs that fold change data must know, as their command lines name it."""
        return [part for name in self.ignored_columns for part in ("--ignored-column", name)]


class Billing(_Section):
    """Nightly billing exports, the authority on revenue."""

    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    maturity: timedelta = Field(
        default=timedelta(hours=48), ge=timedelta(0), description="after this an unbilled event earned nothing"
    )
    lag: timedelta = Field(
        default=timedelta(hours=3), ge=timedelta(0), description="a day's export counts as known this long after it"
    )
    export_timeout: timedelta = Field(default=timedelta(hours=20), description="how long a night waits for its export")
    cron: str = "0 3 * * *"
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    metrics_host: str = Field(default="127.0.0.1", description="address that serves `/metrics`")
    metrics_port: int = Field(default=9103, gt=0, lt=65536)
    metrics_interval: timedelta = Field(
        default=timedelta(minutes=1), gt=timedelta(0), description="how often the lake is asked what is in quarantine"
    )

    def landing_arguments(self) -> list[str]:
        """What the landing job must know, as its command line names it."""
        return ["--currency", self.currency, "--lag", _iso(self.lag)]

    def revenue_arguments(self) -> list[str]:
        """What jobs that read revenue must know, as their command lines name it."""
        return ["--billing-maturity", _iso(self.maturity)]


class Labels(_Section):
    """What an impression's label is worth: the weights of the objectives."""

    click: float = Field(default=1, ge=0)
    contact: float = Field(default=4, ge=0)
    revenue: float = Field(default=0.5, ge=0, description="per log1p(currency unit)")
    maturity: timedelta = Field(default=timedelta(hours=1), description="how long an impression waits for its answers")
    max_grade: int = Field(default=30, ge=1, le=30)


class Training(_Section):
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


class Gate(_Section):
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


class ExperimentPlan(_Section):
    """The live A/B. Times are event time, except ``wall_clock_timeout``."""

    share: float = Field(default=0.05, gt=0, lt=1)
    duration: timedelta = timedelta(hours=24)
    look_interval: timedelta = timedelta(hours=1)
    max_duration: timedelta = Field(default=timedelta(hours=72), description="extend waits at most this long")
    wall_clock_timeout: timedelta = timedelta(days=5)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    primary_metric: Literal["clicks", "contacts", "revenue"] = "contacts"
    guardrail_margins: dict[str, float] = Field(
        default_factory=lambda: {"revenue": -0.05},
        description="metric per search -> least acceptable relative lower bound",
    )
    expected_lift: float = Field(default=0.1, gt=0, description="relative; tunes where the intervals are tightest")
    srm_alpha: float = Field(default=0.001, gt=0, lt=0.5)
    min_users_per_variant: int = Field(default=100, ge=1)
    poll_seconds: float = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _whole_hours(self) -> ExperimentPlan:
        for name in ("duration", "look_interval", "max_duration"):
            value: timedelta = getattr(self, name)
            if value <= timedelta(0) or value % timedelta(hours=1):
                raise ValueError(f"{name} must be a positive number of whole hours, because looks read closed hours")
        if self.max_duration < self.duration:
            raise ValueError("max_duration must not be before duration")
        return self


class Approval(_Section):
    """Who may approve a promotion, and how long silence lasts before it means no."""

    approvers: tuple[str, ...] = ("product_manager",)
    timeout: timedelta = timedelta(days=3)


class Rollout(_Section):
    """The blue/green shift to production."""

    strategy: Literal["LINEAR", "CANARY", "ALL_AT_ONCE"] = "LINEAR"
    step_percent: int = Field(default=20, ge=5, le=50)
    step_wait: timedelta = timedelta(minutes=5)
    termination_wait: timedelta = timedelta(minutes=5)
    timeout: timedelta = timedelta(hours=2)
    alarms: tuple[str, ...] = ("adrank-production-5xx", "adrank-production-latency")


class Airflow(_Section):
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

    def training_set_arguments(self) -> list[str]:
        """Window, test fraction and label weights, as the training-set job's command line names them."""
        training = self.training
        window = ["--window-days", str(training.window_days), "--test-fraction", str(training.test_fraction)]
        return [*window, "--labels", self.labels.model_dump_json(), *self.billing.revenue_arguments()]

    def evaluation_arguments(self) -> list[str]:
        """How the evaluation job measures, as its command line names it."""
        return ["--confidence", str(self.gate.confidence), "--min-propensity", str(self.gate.min_propensity)]

    def hyperparameters(self) -> dict[str, str]:
        """What the training job is told; SageMaker carries strings only."""
        names = ("learning_rate", "num_leaves", "min_data_in_leaf", "num_boost_round", "seed", "folds")
        return {
            **{n: str(getattr(self.training, n)) for n in names},
            "mlflow_experiment": self.training.mlflow_experiment,
        }

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
