"""The environment of the inference container: SageMaker's variables and the model's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class _Variables(BaseModel):
    """A field's alias is the name of its variable."""

    # Errors name a variable; the others, which they would quote, are nobody's business.
    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, validate_by_name=True, serialize_by_alias=True
    )

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the environment says; an empty variable says nothing.

        :raises pydantic.ValidationError: a variable, which it names, is absent or impossible
        """
        return cls.model_validate({name: text for name, text in environment.items() if text}, by_name=False)

    def variables(self) -> dict[str, str]:
        """The variables of the values that were given."""
        given = self.model_dump(exclude_unset=True)
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


class ServingEnvironment(_Variables):
    """The package, and how it is served."""

    base_dir: Path = Field(default=Path("/opt/ml"), alias="SAGEMAKER_BASE_DIR")
    package_digest: str = Field(alias="ADRANK_PACKAGE_DIGEST")
    host: str = Field(default="127.0.0.1", alias="SERVING_HOST")
    port: int = Field(default=8080, gt=0, lt=65536, alias="SAGEMAKER_BIND_TO_PORT")
    threads: int = Field(default=8, gt=0, alias="SERVING_THREADS")

    @property
    def model_dir(self) -> Path:
        """Where the package lies."""
        return self.base_dir / "model"


class StoresEnvironment(_Variables):
    """Where the online stores are; read only for a model that uses stored features."""

    redis_host: str = Field(alias="REDIS_HOST")
    redis_port: int = Field(default=6379, gt=0, lt=65536, alias="REDIS_PORT")
    redis_tls: bool = Field(default=False, alias="REDIS_TLS")
    redis_timeout_ms: int = Field(default=50, gt=0, alias="REDIS_TIMEOUT_MS")
    features_table: str = Field(alias="FEATURES_TABLE")
    dynamodb_timeout_ms: int = Field(default=200, gt=0, alias="DYNAMODB_TIMEOUT_MS")
    region: str = Field(
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"), serialization_alias="AWS_REGION"
    )
    cache_seconds: float = Field(default=5, gt=0, alias="SELLER_CACHE_SECONDS")


class ServedRowsEnvironment(_Variables):
    """The bucket that gets the stored rows served to a share of the searches; 0: nothing is logged."""

    share: float = Field(default=0, ge=0, le=1, alias="ADRANK_SERVED_SAMPLE")
    bucket: str = Field(default="", alias="ADRANK_SERVED_BUCKET")

    @model_validator(mode="after")
    def _has_a_bucket(self) -> Self:
        if self.share and not self.bucket:
            raise ValueError("ADRANK_SERVED_BUCKET is not set")
        return self
