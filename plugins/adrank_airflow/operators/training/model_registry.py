"""Register packages in MLflow and move the aliases that say which of them is what."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperator

from adrank.contracts import packages
from adrank.contracts.settings import Settings
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import Alias, ModelRegistryHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class _RegistryOperator(BaseOperator):
    ui_color = "#e7dcf3"

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    @property
    def hook(self) -> ModelRegistryHook:
        """The ranking model in MLflow."""
        return ModelRegistryHook(self.settings.training.registered_model, self.settings.airflow.mlflow_conn_id)


class RegisterPackageOperator(_RegistryOperator):
    """Check a trained package's digest, keep it under its digest in the lake, and register it as ``candidate``.

    :param trained: what the training operator returned; templated.
    :param tags: governance tags of the version; templated.
    """

    template_fields: Sequence[str] = ("trained", "tags")

    def __init__(self, *, trained: Any, tags: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained
        self.tags = dict(tags)

    def execute(self, context: Context) -> dict[str, str]:
        """Return version, digest and where package and golden requests lie."""
        settings, digest = self.settings, self.trained["package_digest"]
        lake_hook = LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, settings.region)
        source = urlsplit(self.trained["model_data_url"]).path.lstrip("/")
        golden = self._golden_of(lake_hook.read_bytes(source), digest)
        model_key, golden_key = f"models/{digest}/model.tar.gz", f"models/{digest}/{packages.GOLDEN}"
        lake_hook.copy(source, model_key)
        lake_hook.conn.put_object(Bucket=lake_hook.bucket, Key=golden_key, Body=golden)
        package = self.hook.register(self.trained["mlflow_run_id"], digest, lake_hook.uri(model_key), self.tags)
        self.hook.move("candidate", package.version, by=context["run_id"], why="registered")
        return {
            "version": package.version,
            "package_digest": digest,
            "model_data_url": package.model_data_url,
            "golden_key": golden_key,
        }

    @staticmethod
    def _golden_of(archive: bytes, digest: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(directory, filter="data")
            packages.require_digest(Path(directory), digest)
            return (Path(directory) / packages.GOLDEN).read_bytes()


class MoveAliasOperator(_RegistryOperator):
    """Point one alias at a version.

    :param version: templated.
    """

    template_fields: Sequence[str] = ("version", "why")

    def __init__(self, *, alias: Alias, version: str, why: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alias: Alias = alias
        self.version = version
        self.why = why

    def execute(self, context: Context) -> dict[str, str]:
        """Return what was moved where."""
        self.hook.move(self.alias, self.version, by=context["run_id"], why=self.why)
        return {"alias": self.alias, "version": self.version}


class PromoteAliasesOperator(_RegistryOperator):
    """After verification: ``previous`` takes over what was production, ``production`` the new version.

    :param version: the promoted version; templated.
    :param why: kept with every move; templated.
    """

    template_fields: Sequence[str] = ("version", "why")

    def __init__(self, *, version: str, why: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.why = why

    def execute(self, context: Context) -> dict[str, str]:
        """Return the aliases as they are now."""
        hook, by = self.hook, context["run_id"]
        before = hook.by_alias("production")
        if before is not None and before.version != self.version:
            hook.move("previous", before.version, by=by, why=f"replaced by version {self.version}")
        hook.move("production", self.version, by=by, why=self.why)
        for alias in ("staging", "candidate"):
            hook.clear(alias)
        previous = hook.by_alias("previous")
        return {"production": self.version, **({"previous": previous.version} if previous else {})}
