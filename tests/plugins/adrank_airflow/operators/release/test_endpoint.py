"""In service is not deployed: the configuration and the answers decide."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from adrank.contracts.settings import Settings
from adrank_airflow.errors import (
    DeadlineError,
    DeploymentRolledBackError,
    EndpointFailedError,
    StagingInUseError,
)
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.operators.release.endpoint import (
    ClaimStagingOperator,
    DeployEndpointOperator,
    RemoveStagingOperator,
    RestoreProductionOperator,
)
from tests.plugins.deferral import deferral

DIGEST = "d" * 64


def deploy(settings: Settings, role: Any = "staging") -> DeployEndpointOperator:
    return DeployEndpointOperator(
        task_id="deploy",
        settings=settings,
        role=role,
        package_digest=DIGEST,
        model_data_url="s3://adrank-lake/m.tar.gz",
    )


def described(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    monkeypatch.setattr(EndpointsHook, "describe", lambda self, endpoint: answer or None)


def test_a_retry_finds_model_configuration_and_endpoint_and_creates_nothing_twice(
    aws: None, settings: Settings, context: Any
) -> None:
    configs = set()
    for _ in range(2):
        configs.add(deferral(deploy(settings).execute, context).kwargs["config"])
    assert len(configs) == 1
    assert DIGEST[:12] in configs.pop()


def test_an_update_shifts_blue_green_under_the_alarms(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[dict[str, Any]] = []
    monkeypatch.setattr(EndpointsHook, "update", lambda self, e, c, deployment: updates.append(deployment))
    deferral(deploy(settings, "production").execute, context)
    other = deploy(settings, "production")
    other.package_digest = "e" * 64
    deferral(other.execute, context)
    (update,) = updates
    routing = update["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"], routing["LinearStepSize"]["Value"]) == ("LINEAR", 20)
    assert {a["AlarmName"] for a in update["AutoRollbackConfiguration"]["Alarms"]} == set(settings.rollout.alarms)


def test_in_service_on_another_configuration_is_a_rollback_not_a_success(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointStatus="InService", EndpointConfigName="old", FailureReason="alarm p99")
    with pytest.raises(DeploymentRolledBackError, match="serves old, not new: alarm p99"):
        deploy(settings).finish(context, {"status": "InService"}, config="new", previous="old")


def test_in_service_on_the_configuration_that_was_asked_for_is_a_success(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointStatus="InService", EndpointConfigName="new")
    outcome = deploy(settings).finish(context, {"status": "InService"}, config="new", previous="old")
    assert outcome["previous_config"] == "old"
    assert set(outcome) == set(DeployEndpointOperator.returns)


def test_a_failed_endpoint_and_a_deadline_are_told_apart(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointStatus="Failed", FailureReason="digest differs")
    with pytest.raises(EndpointFailedError, match="digest differs"):
        deploy(settings).finish(context, {"status": "Failed"}, config="new", previous="")
    with pytest.raises(DeadlineError):
        deploy(settings).finish(context, {"status": "deadline"}, config="new", previous="")


def test_a_rollback_is_not_tried_again_on_live_users() -> None:
    assert issubclass(DeploymentRolledBackError, AirflowFailException)


@pytest.mark.parametrize(("status", "deletions"), [("Failed", 1), ("Deleting", 0)])
def test_what_had_failed_is_deleted_by_one_try_and_created_anew_by_a_later_one(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch, status: str, deletions: int
) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(EndpointsHook, "delete", lambda self, endpoint: deleted.append(endpoint))
    with monkeypatch.context() as meanwhile:
        described(meanwhile, EndpointStatus=status, EndpointConfigName="old")
        with pytest.raises(EndpointFailedError, match="the next try creates it anew"):
            deploy(settings).execute(context)
    assert len(deleted) == deletions
    deferral(deploy(settings).execute, context)


def restore(settings: Settings, approved: str) -> RestoreProductionOperator:
    return RestoreProductionOperator(task_id="restore", settings=settings, approved_digest=approved)


def test_production_is_left_alone_when_a_run_fails_before_anything_was_approved(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_alias = MagicMock()
    monkeypatch.setattr(ModelRegistryHook, "by_alias", by_alias)
    with pytest.raises(AirflowSkipException):
        restore(settings, approved="").execute(context)
    by_alias.assert_not_called()


def test_a_failed_promotion_goes_back_to_the_package_that_the_alias_names(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SimpleNamespace(package_digest="e" * 64, model_data_url="s3://adrank-lake/before.tar.gz")
    monkeypatch.setattr(ModelRegistryHook, "by_alias", lambda self, alias: before)
    deferral(deploy(settings, "production").execute, context)
    updates: list[str] = []
    monkeypatch.setattr(EndpointsHook, "update", lambda self, endpoint, config, deployment: updates.append(config))
    deferral(restore(settings, approved=DIGEST).execute, context)
    (config,) = updates
    assert before.package_digest[:12] in config


def test_staging_that_another_run_holds_is_not_taken_over(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointArn="arn:x", EndpointStatus="InService")
    monkeypatch.setattr(EndpointsHook, "tags", lambda self, arn: {"adrank:run": "scheduled__other"})
    with pytest.raises(StagingInUseError, match="scheduled__other"):
        ClaimStagingOperator(task_id="claim", settings=settings).execute(context)
    monkeypatch.setattr(EndpointsHook, "tags", lambda self, arn: {"adrank:run": context["run_id"]})
    ClaimStagingOperator(task_id="claim", settings=settings).execute(context)


def test_staging_is_removed_only_once_it_has_settled(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(EndpointsHook, "delete", lambda self, endpoint: removed.append(endpoint))
    monkeypatch.setattr(ModelRegistryHook, "delete_alias", lambda self, alias: removed.append(alias))
    moving = {"EndpointStatus": "Creating", "EndpointConfigName": "c", "LastModifiedTime": datetime.now(UTC)}
    described(monkeypatch, **moving)
    remove = RemoveStagingOperator(task_id="remove", settings=settings)
    deferred = deferral(remove.execute, context)
    assert removed == []
    getattr(remove, deferred.method_name)(context, event={"status": "Failed"}, **deferred.kwargs)
    assert removed == [settings.sagemaker.staging_endpoint, "staging"]


def test_removing_staging_that_is_gone_is_fine(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelRegistryHook, "delete_alias", lambda self, alias: None)
    RemoveStagingOperator(task_id="remove", settings=settings).execute(context)
