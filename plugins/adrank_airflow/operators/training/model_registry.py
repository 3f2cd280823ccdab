"""Register packages in MLflow and move the aliases that say which of them is what."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adrank.contracts import lake, packages
from adrank_airflow.base import AdrankTask
from adrank_airflow.hooks.model_registry import Alias

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterPackageOperator(AdrankTask):
    """Check a trained package's digest, keep it under its digest in the lake, and register it as ``candidate``.

    :param trained: what the training operator returned; templated.
    :param tags: governance tags of the version; templated.
    """

    returns = ("version", "package_digest", "model_data_url", "golden_key")
    template_fields: Sequence[str] = ("trained", "tags")
    ui_color = "#e7dcf3"

    def __init__(self, *, trained: Any, tags: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained
        self.tags = dict(tags)

    def execute(self, context: Context) -> dict[str, str]:
        """Return version, digest and where package and golden requests lie."""
        digest, store = self.trained["package_digest"], self.lake
        source = urlsplit(self.trained["model_data_url"]).path.lstrip("/")
        golden = self._golden_of(store.get(source), digest)
        model_key, golden_key = lake.MODEL_PACKAGE.of(digest), lake.GOLDEN_REQUESTS.of(digest)
        store.copy(source, model_key)
        store.put(golden_key, golden)
        package = self.model_registry.register(self.trained["mlflow_run_id"], digest, store.uri(model_key), self.tags)
        self.model_registry.set_alias("candidate", package.version, by=context["run_id"], why="registered")
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


class MoveAliasOperator(AdrankTask):
    """Point one alias at a version.

    :param version: templated.
    """

    returns = ("alias", "version")
    template_fields: Sequence[str] = ("version", "why")
    ui_color = "#e7dcf3"

    def __init__(self, *, alias: Alias, version: str, why: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alias: Alias = alias
        self.version = version
        self.why = why

    def execute(self, context: Context) -> dict[str, str]:
        """Return what was moved where."""
        self.model_registry.set_alias(self.alias, self.version, by=context["run_id"], why=self.why)
        return {"alias": self.alias, "version": self.version}


class PromoteAliasesOperator(AdrankTask):
    """After verification: ``previous`` takes over what was production, ``production`` the new version.

    :param version: the promoted version; templated.
    :param why: kept with every move; templated.
    """

    returns = ("production", "previous")
    template_fields: Sequence[str] = ("version", "why")
    ui_color = "#e7dcf3"

    def __init__(self, *, version: str, why: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.why = why

    def execute(self, context: Context) -> dict[str, str]:
        """Return the aliases as they are now."""
        hook, by = self.model_registry, context["run_id"]
        before = hook.by_alias("production")
        if before is not None and before.version != self.version:
            hook.set_alias("previous", before.version, by=by, why=f"replaced by version {self.version}")
        hook.set_alias("production", self.version, by=by, why=self.why)
        for alias in ("staging", "candidate"):
            hook.delete_alias(alias)
        previous = hook.by_alias("previous")
        return {"production": self.version, **({"previous": previous.version} if previous else {})}
