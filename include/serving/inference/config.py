"""What the container is told by its environment: the SageMaker contract and the model's own variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TRUE = {"1", "true", "yes"}
_FALSE = {"0", "false", "no", ""}


class ConfigError(RuntimeError):
    """A variable that the container needs is absent or impossible."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the online stores are, and how long (seconds) a request waits for each."""

    redis_host: str
    redis_port: int
    redis_tls: bool
    redis_timeout: float
    features_table: str
    dynamodb_timeout: float
    cache_seconds: float
    region: str


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """The lake bucket that gets the stored rows served to a ``share`` of the searches."""

    bucket: str
    share: float
    region: str


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """The container's variables. ``stores`` is read only for a model that uses stored features."""

    model_dir: Path
    package_digest: str
    host: str
    port: int
    threads: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> ServingConfig:
        """Read ``SAGEMAKER_*``, ``ADRANK_PACKAGE_DIGEST`` (required) and ``SERVING_*``."""
        return cls(
            model_dir=Path(env.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model",
            package_digest=_text(env, "ADRANK_PACKAGE_DIGEST"),
            host=env.get("SERVING_HOST", "127.0.0.1"),
            port=_whole(env, "SAGEMAKER_BIND_TO_PORT", 8080),
            threads=_whole(env, "SERVING_THREADS", 8),
        )


def stores_from_env(env: Mapping[str, str] = os.environ) -> StoreConfig:
    """Read ``REDIS_HOST``, ``FEATURES_TABLE`` and the region (required), and the optional rest."""
    return StoreConfig(
        redis_host=_text(env, "REDIS_HOST"),
        redis_port=_whole(env, "REDIS_PORT", 6379),
        redis_tls=_flag(env, "REDIS_TLS"),
        redis_timeout=_number(env, "REDIS_TIMEOUT_MS", 50) / 1000,
        features_table=_text(env, "FEATURES_TABLE"),
        dynamodb_timeout=_number(env, "DYNAMODB_TIMEOUT_MS", 200) / 1000,
        cache_seconds=_number(env, "SELLER_CACHE_SECONDS", 5),
        region=_text(env, "AWS_REGION" if "AWS_REGION" in env else "AWS_DEFAULT_REGION"),
    )


def served_from_env(env: Mapping[str, str] = os.environ) -> ServedConfig | None:
    """Read ``ADRANK_SERVED_SAMPLE`` and ``ADRANK_SERVED_BUCKET``; without a share nothing is logged."""
    share = _share(env, "ADRANK_SERVED_SAMPLE")
    if not share:
        return None
    region = _text(env, "AWS_REGION" if "AWS_REGION" in env else "AWS_DEFAULT_REGION")
    return ServedConfig(bucket=_text(env, "ADRANK_SERVED_BUCKET"), share=share, region=region)


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise ConfigError(f"environment variable {name} is not set")
    return value


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(env.get(name, default))
    except ValueError:
        value = -1
    if not 0 < value < 1e6:
        raise ConfigError(f"environment variable {name} must be a positive number, got {env[name]!r}")
    return value


def _share(env: Mapping[str, str], name: str) -> float:
    try:
        value = float(env.get(name, 0))
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise ConfigError(f"environment variable {name} must be a number from 0 to 1, got {env[name]!r}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    value = _number(env, name, default)
    if value != int(value):
        raise ConfigError(f"environment variable {name} must be a whole number, got {env[name]!r}")
    return int(value)


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").lower()
    if value not in _TRUE | _FALSE:
        raise ConfigError(f"environment variable {name} must be true or false, got {value!r}")
    return value in _TRUE
