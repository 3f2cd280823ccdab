"""A package is registered under the digest of its content; aliases move together and only as they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adrank.contracts import packages
from adrank.contracts.settings import Settings
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook, RegisteredPackage
from adrank_airflow.operators.training.model_registry import (
    MoveAliasOperator,
    PromoteAliasesOperator,
    RegisterPackageOperator,
)

CONTEXT: Any = {"run_id": "weekly__1"}


@pytest.fixture
def aliases(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Alias -> version, as MLflow would keep them."""
    kept: dict[str, str] = {}

    def by_alias(self: Any, alias: str) -> RegisteredPackage | None:
        return RegisteredPackage(kept[alias], "d", "s3://m") if alias in kept else None

    def set_alias(self: Any, alias: str, version: str, by: str, why: str) -> None:
        assert (by, bool(why)) == ("weekly__1", True)
        kept[alias] = version

    monkeypatch.setattr(ModelRegistryHook, "by_alias", by_alias)
    monkeypatch.setattr(ModelRegistryHook, "set_alias", set_alias)
    monkeypatch.setattr(ModelRegistryHook, "delete_alias", lambda self, alias: kept.pop(alias, None))
    return kept


def trained(tmp_path: Path, hook: LakeHook) -> dict[str, str]:
    """What a training returns whose package lies in the lake."""
    package = tmp_path / "package"
    package.mkdir()
    (package / packages.GOLDEN).write_text('{"vectors": [], "scores": []}')
    packages.pack(package, tmp_path / "model.tar.gz")
    hook.put("training/x/model.tar.gz", (tmp_path / "model.tar.gz").read_bytes())
    url = hook.uri("training/x/model.tar.gz")
    return {"package_digest": packages.package_digest(package), "model_data_url": url, "mlflow_run_id": "r"}


def register(settings: Settings, given: dict[str, str]) -> dict[str, str]:
    return RegisterPackageOperator(task_id="register", settings=settings, trained=given, tags={"a": "b"}).execute(
        CONTEXT
    )


def test_a_package_is_kept_and_registered_under_its_digest(
    tmp_path: Path, hook: LakeHook, settings: Settings, aliases: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = trained(tmp_path, hook)
    registered: list[Any] = []

    def made(self: Any, run_id: str, digest: str, url: str, tags: dict[str, str]) -> RegisteredPackage:
        registered.append((run_id, digest, url, tags))
        return RegisteredPackage("3", digest, url)

    monkeypatch.setattr(ModelRegistryHook, "register", made)
    outcome = register(settings, given)
    assert set(outcome) == set(RegisterPackageOperator.returns)
    url = hook.uri(f"models/{given['package_digest']}/model.tar.gz")
    assert registered == [("r", given["package_digest"], url, {"a": "b"})]
    assert (outcome["version"], outcome["model_data_url"]) == ("3", url)
    assert hook.read_json(outcome["golden_key"]) == {"vectors": [], "scores": []}
    assert aliases == {"candidate": "3"}


def test_a_package_of_another_content_is_refused(
    tmp_path: Path, hook: LakeHook, settings: Settings, aliases: dict[str, str]
) -> None:
    with pytest.raises(packages.PackageDigestError):
        register(settings, {**trained(tmp_path, hook), "package_digest": "0" * 64})
    assert aliases == {}


def test_an_alias_moves(settings: Settings, aliases: dict[str, str]) -> None:
    task = MoveAliasOperator(task_id="mark", settings=settings, alias="staging", version="3", why="parity")
    outcome = task.execute(CONTEXT)
    assert set(outcome) == set(MoveAliasOperator.returns)
    assert aliases == {"staging": "3"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"production": "2", "staging": "3", "candidate": "3"}, {"production": "3", "previous": "2"}),
        ({"candidate": "3"}, {"production": "3"}),
        ({"production": "3", "previous": "2"}, {"production": "3", "previous": "2"}),
    ],
    ids=["a promotion", "the first", "a retry"],
)
def test_production_is_replaced_and_remembered(
    settings: Settings, aliases: dict[str, str], before: dict[str, str], after: dict[str, str]
) -> None:
    aliases |= before
    outcome = PromoteAliasesOperator(task_id="move", settings=settings, version="3", why="approved").execute(CONTEXT)
    assert outcome == aliases == after
    assert set(outcome) <= set(PromoteAliasesOperator.returns)
