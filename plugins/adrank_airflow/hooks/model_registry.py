"""The MLflow model registry: versions, aliases, and who moved which alias when and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from airflow.sdk import BaseHook

from adrank.contracts.packages import DATA_TAG, DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

Alias = Literal["candidate", "staging", "production", "previous"]


@dataclass(frozen=True)
class RegisteredPackage:
    """A registered model version, reduced to what deployments need."""

    version: str
    package_digest: str
    model_data_url: str


class ModelRegistryHook(BaseHook):
    """One registered model on the MLflow server that the connection names."""

    def __init__(self, model: str, mlflow_conn_id: str) -> None:
        super().__init__()
        self.model = model
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client; its import is heavy, so it waits until a task runs."""
        from mlflow import MlflowClient

        connection = self.get_connection(self.mlflow_conn_id)
        uri = f"{connection.schema or 'http'}://{connection.host}:{connection.port}"
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def by_alias(self, alias: Alias) -> RegisteredPackage | None:
        """The version that an alias points at."""
        from mlflow.exceptions import MlflowException

        try:
            version = self.client.get_model_version_by_alias(self.model, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return RegisteredPackage(str(version.version), version.tags[DIGEST_TAG], version.tags[DATA_TAG])

    def by_digest(self, package_digest: str) -> RegisteredPackage | None:
        """The version that holds a package."""
        found = self.client.search_model_versions(f"name = '{self.model}' AND tags.{DIGEST_TAG} = '{package_digest}'")
        if not found:
            return None
        newest = max(found, key=lambda version: int(version.version))
        return RegisteredPackage(str(newest.version), package_digest, newest.tags[DATA_TAG])

    def register(
        self, run_id: str, package_digest: str, model_data_url: str, tags: dict[str, str]
    ) -> RegisteredPackage:
        """Register the package that a run logged; one that is registered already keeps its version."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        registered = self.by_digest(package_digest)
        if registered is not None:
            return registered
        source = f"{self.client.get_run(run_id).info.artifact_uri}/package"
        version = self.client.create_model_version(
            self.model,
            source=source,
            run_id=run_id,
            tags={DIGEST_TAG: package_digest, DATA_TAG: model_data_url, **tags},
        )
        return RegisteredPackage(str(version.version), package_digest, model_data_url)

    def set_alias(self, alias: Alias, version: str, by: str, why: str) -> None:
        """Point an alias at a version and keep who moved it, when, from where and why."""
        before = self.by_alias(alias)
        if before is not None and before.version == version:
            return
        self.client.set_registered_model_alias(self.model, alias, version)
        now = datetime.now(UTC)
        move = {"alias": alias, "from": before.version if before else None, "to": version, "by": by, "why": why}
        self.client.set_registered_model_tag(
            self.model, f"alias_move.{now:%Y%m%dT%H%M%S%fZ}", json.dumps({**move, "at": now.isoformat()})
        )

    def delete_alias(self, alias: Alias) -> None:
        """Remove an alias."""
        if self.by_alias(alias) is not None:
            self.client.delete_registered_model_alias(self.model, alias)
