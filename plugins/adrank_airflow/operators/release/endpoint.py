"""Deploy and remove SageMaker endpoints.

A deployment is done when the endpoint serves the configuration that was asked for. In service is not enough: SageMaker
rolls an alarmed update back to the old configuration and reports the endpoint in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from adrank.contracts.sagemaker_requests import Role
from adrank.contracts.settings import Rollout, Settings
from adrank_airflow.errors import (
    DeadlineError,
    DeploymentRolledBackError,
    EndpointFailedError,
    StagingInUseError,
)
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.triggers.aws_resource import AwsResourceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

_RUN_TAG = "adrank:run"
_MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack")


def deployment_config(rollout: Rollout) -> dict[str, Any]:
    """SageMaker's DeploymentConfig for a blue/green shift watched by alarms."""
    size = {"Type": "CAPACITY_PERCENT", "Value": rollout.step_percent}
    routing: dict[str, Any] = {
        "Type": rollout.strategy,
        "WaitIntervalInSeconds": int(rollout.step_wait.total_seconds()),
    }
    if rollout.strategy == "LINEAR":
        routing["LinearStepSize"] = size
    elif rollout.strategy == "CANARY":
        routing["CanarySize"] = size
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": int(rollout.termination_wait.total_seconds()),
            "MaximumExecutionTimeoutInSeconds": max(600, int(rollout.timeout.total_seconds())),
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in rollout.alarms]},
    }


class EndpointOperator(BaseOperator):
    """An operator of the endpoint that serves a role."""

    ui_color = "#dbe4f3"

    def __init__(self, *, settings: Settings, role: Role, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.role: Role = role

    @property
    def endpoint(self) -> str:
        """The endpoint of this role."""
        sagemaker = self.settings.sagemaker
        return sagemaker.staging_endpoint if self.role == "staging" else sagemaker.production_endpoint

    @property
    def hook(self) -> EndpointsHook:
        """Endpoints of the account."""
        return EndpointsHook(aws_conn_id=self.settings.airflow.aws_conn_id, region_name=self.settings.region)

    def deploy_if_needed(self, config: str, there: dict[str, Any] | None, run_id: str) -> None:
        """Start the deployment, unless the endpoint is on ``config`` or moving already.

        What had failed is deleted first, and only a later try finds it gone.
        """
        if there is not None and there["EndpointStatus"] in ("Failed", "Deleting"):
            if there["EndpointStatus"] == "Failed":
                self.hook.delete(self.endpoint)
            raise EndpointFailedError(f"{self.endpoint} had failed and is being deleted; the next try creates it anew")
        if there is None:
            self.hook.create(self.endpoint, config, {_RUN_TAG: run_id})
        elif there["EndpointStatus"] == "InService" and there["EndpointConfigName"] != config:
            self.hook.update(self.endpoint, config, deployment_config(self.settings.rollout))
        else:
            self.log.info("%s is %s on %s", self.endpoint, there["EndpointStatus"], there["EndpointConfigName"])

    def wait_for(self, config: str, previous: str, method_name: str = "finish") -> NoReturn:
        """Defer until the endpoint has settled, counted from when SageMaker says the change began."""
        settings = self.settings
        began = (self.hook.describe(self.endpoint) or {})["LastModifiedTime"]
        self.defer(
            trigger=AwsResourceTrigger(
                kind="endpoint",
                reference={"EndpointName": self.endpoint},
                deadline=(began + settings.rollout.timeout).isoformat(),
                poll_seconds=settings.sagemaker.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=settings.airflow.aws_conn_id,
                region_name=settings.region,
            ),
            method_name=method_name,
            kwargs={"config": config, "previous": previous},
        )

    def finish(self, context: Context, event: dict[str, Any], config: str, previous: str) -> dict[str, str]:
        """Return the configuration that serves, or say what happened instead."""
        del context
        if event["status"] == "deadline":
            raise DeadlineError(f"{self.endpoint} did not settle on {config} in time")
        there = self.hook.describe(self.endpoint) or {}
        reason = there.get("FailureReason", "no reason given")
        if there.get("EndpointStatus") != "InService":
            raise EndpointFailedError(f"{self.endpoint} is {there.get('EndpointStatus', 'gone')}: {reason}")
        if there["EndpointConfigName"] != config:
            raise DeploymentRolledBackError(
                f"{self.endpoint} serves {there['EndpointConfigName']}, not {config}: {reason}"
            )
        return {"endpoint": self.endpoint, "endpoint_config": config, "previous_config": previous}


class DeployEndpointOperator(EndpointOperator):
    """Bring an endpoint to serve a package: created when it is missing, shifted blue/green when it is not."""

    template_fields: Sequence[str] = ("package_digest", "model_data_url")

    def __init__(self, *, package_digest: str, model_data_url: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package_digest = package_digest
        self.model_data_url = model_data_url

    def execute(self, context: Context) -> None:
        """Create or update the endpoint unless it is on its way there already; then defer."""
        config = self.hook.ensure_config(self.settings, self.role, self.package_digest, self.model_data_url)
        there = self.hook.describe(self.endpoint)
        self.deploy_if_needed(config, there, run_id=context["run_id"])
        self.wait_for(config, previous=there["EndpointConfigName"] if there else "")


class ClaimStagingOperator(EndpointOperator):
    """Make sure that no other run holds the staging endpoint; the setup that staging's removal is the teardown of."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(role="staging", **kwargs)

    def execute(self, context: Context) -> str:
        """Return the staging endpoint's name, or refuse."""
        there = self.hook.describe(self.endpoint)
        if there is not None:
            holder = self.hook.tags(there["EndpointArn"]).get(_RUN_TAG, "an unknown run")
            if holder != context["run_id"]:
                raise StagingInUseError(f"{self.endpoint} is held by {holder}; delete it if that run is over")
        return self.endpoint


class RemoveStagingOperator(EndpointOperator):
    """Delete the staging endpoint and its alias, wherever the run went."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(role="staging", **kwargs)

    def execute(self, context: Context) -> str:
        """Delete, once it has settled: SageMaker deletes nothing that is on its way. One that is gone is fine."""
        there = self.hook.describe(self.endpoint)
        if there is not None and there["EndpointStatus"] in _MOVING:
            self.wait_for(there["EndpointConfigName"], previous="", method_name="remove")
        return self.remove(context)

    def remove(self, context: Context, **_: Any) -> str:
        """Delete endpoint and alias."""
        del context
        settings = self.settings
        self.hook.delete(self.endpoint)
        ModelRegistryHook(settings.training.registered_model, settings.airflow.mlflow_conn_id).clear("staging")
        return self.endpoint


class RestoreProductionOperator(EndpointOperator):
    """After a failed promotion: bring the endpoint back to the package that the alias ``production`` still names.

    :param approved_digest: package whose approval was found to hold; templated. Without one nothing was promoted, so
        whatever failed, production is left alone.
    """

    template_fields: Sequence[str] = ("approved_digest",)

    def __init__(self, *, approved_digest: str, **kwargs: Any) -> None:
        super().__init__(role="production", **kwargs)
        self.approved_digest = approved_digest

    def execute(self, context: Context) -> dict[str, str]:
        """Shift back unless SageMaker rolled back by itself; a failed first deployment is removed."""
        if not self.approved_digest:
            raise AirflowSkipException("no approval was acted on: nothing to restore")
        settings, hook = self.settings, self.hook
        registry = ModelRegistryHook(settings.training.registered_model, settings.airflow.mlflow_conn_id)
        package, there = registry.by_alias("production"), hook.describe(self.endpoint)
        if package is None:
            if there is not None and hook.tags(there["EndpointArn"]).get(_RUN_TAG) == context["run_id"]:
                hook.delete(self.endpoint)
            return {"endpoint": self.endpoint, "endpoint_config": ""}
        config = hook.ensure_config(settings, self.role, package.package_digest, package.model_data_url)
        if there is not None and there["EndpointStatus"] == "InService" and there["EndpointConfigName"] == config:
            return {"endpoint": self.endpoint, "endpoint_config": config}
        self.deploy_if_needed(config, there, run_id=context["run_id"])
        self.wait_for(config, previous=there["EndpointConfigName"] if there else "")
