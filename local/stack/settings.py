"""What may differ between two stacks on one machine: where they keep their files, and their loopback ports.

Read from the environment: ``STACK_HOME``, ``STACK_PORT_BASE``, ``STACK_PORTS__<NAME>``, ``STACK_POSTGRES_DATA``,
``STACK_EXTRA_ENVIRONMENT`` (JSON).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"

Port = Annotated[int, Field(gt=1023, lt=65536)]


class Ports(BaseModel):
    """One loopback port for each server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    airflow: Port
    mlflow: Port
    localcloud: Port
    s3: Port
    runtime: Port
    dynamodb: Port
    redis: Port
    postgres: Port
    kafka: Port
    archiver: Port
    capture: Port
    billing: Port
    broker_s3: Port

    @model_validator(mode="after")
    def _all_different(self) -> Ports:
        by_port: dict[int, list[str]] = {}
        for name, port in self.numbers().items():
            by_port.setdefault(port, []).append(name)
        shared = [f"{port} ({' and '.join(names)})" for port, names in by_port.items() if len(names) > 1]
        if shared:
            raise ValueError(f"ports are used twice: {', '.join(shared)}")
        return self

    def numbers(self) -> dict[str, int]:
        """Port by the name of its field."""
        return self.model_dump()


PORT_LABELS: Final = {
    "airflow": "Airflow UI",
    "mlflow": "MLflow",
    "localcloud": "localcloud control plane",
    "s3": "S3 API",
    "runtime": "SageMaker runtime gateway",
    "dynamodb": "DynamoDB API",
    "redis": "Redis",
    "postgres": "PostgreSQL",
    "kafka": "Kafka broker",
    "archiver": "archiver's metrics",
    "capture": "change data capture's metrics",
    "billing": "billing's metrics",
    "broker_s3": "S3 API of the Kafka broker's log",
}
"""What a person calls the server behind each port, in the order in which ``port_base`` numbers them."""


class StackSettings(BaseSettings):
    """One stack. Ports are ``port_base`` + their position, unless set one by one."""

    model_config = SettingsConfigDict(env_prefix="STACK_", env_nested_delimiter="__", frozen=True, extra="forbid")

    home: Path = Field(default=ROOT / "build" / "stack", description="everything the stack writes")
    port_base: Port = 8080
    ports: Ports
    postgres_data: Path | None = Field(
        default=None, description="PostgreSQL's data directory, where the one under home will not do"
    )
    extra_environment: dict[str, str] = Field(
        default_factory=dict, description="variables added to, or winning over, those of stack.environment"
    )
    start_timeout: float = Field(default=300, gt=0, description="seconds until a server that is not healthy has failed")

    @model_validator(mode="before")
    @classmethod
    def _number_ports_from_the_base(cls, values: Any) -> Any:
        if isinstance(values, dict):
            ports = values.get("ports") or {}
            if isinstance(ports, dict):
                base = int(values.get("port_base", cls.model_fields["port_base"].default))
                numbered = {name: base + offset for offset, name in enumerate(PORT_LABELS)}
                values = values | {"ports": numbered | ports}
        return values

    @field_validator("home", "postgres_data")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.absolute() if path else None
