"""Settings of what lands raw data: the event log, change data capture, billing exports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from adrank.contracts.base import FrozenModel


class Events(FrozenModel):
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


class Cdc(FrozenModel):
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


class Billing(FrozenModel):
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
