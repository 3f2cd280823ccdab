"""Deploy and remove SageMaker endpoints.

A deployment is done when the endpoint serves the configuration that was asked for. In service is not enough: SageMaker
rolls an alarmed update back to the old configuration and reports the endpoint in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowSkipException

from adrank.contracts.sagemaker_requests import Role, deployment_config
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import DeadlineError, DeploymentRolledBackError, EndpointFailedError, StagingInUseError

if TYPE_CHECKING:
    from airflow.sdk import Context

_RUN_TAG = "adrank:run"
_MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack")


class EndpointOperator(AdrankTask):
    """An operator of the endpoint that serves a role."""

    role: Role
    ui_color = "#dbe4f3"

    @property
    def endpoint(self) -> str:
        """The endpoint of this role."""
        sagemaker = self.settings.sagemaker
        return sagemaker.staging_endpoint if self.role == "staging" else sagemaker.production_endpoint

    def deploy_if_needed(self, config: str, current: dict[str, Any] | None, run_id: str) -> None:
        """Start the deployment, unless the endpoint is on ``config`` or moving already.

        What had failed is deleted first, and only a later try finds it gone.
        """
        if current is not None and current["EndpointStatus"] in ("Failed", "Deleting"):
            if current["EndpointStatus"] == "Failed":
                self.endpoints.delete(self.endpoint)
            raise EndpointFailedError(f"{self.endpoint} had failed and is being deleted; the next try creates it anew")
        if current is None:
            self.endpoints.create(self.endpoint, config, {_RUN_TAG: run_id})
        elif current["EndpointStatus"] == "InService" and current["EndpointConfigName"] != config:
            self.endpoints.update(self.endpoint, config, deployment_config(self.settings.rollout))
        else:
            self.log.info("%s is %s on %s", self.endpoint, current["EndpointStatus"], current["EndpointConfigName"])

    def defer_until_stable(self, config: str, previous: str, method_name: str = "finish") -> NoReturn:
        """Defer until the endpoint has settled, counted from when SageMaker says the change began."""
        began = (self.endpoints.describe(self.endpoint) or {})["LastModifiedTime"]
        reference = {"EndpointName": self.endpoint}
        self.defer_until_job("endpoint", reference, began, method_name=method_name, config=config, previous=previous)

    def finish(self, context: Context, event: dict[str, Any], config: str, previous: str) -> dict[str, str]:
        """Return the configuration that serves, or say what happened instead."""
        del context
        if event["status"] == "deadline":
            raise DeadlineError(f"{self.endpoint} did not settle on {config} in time")
        current = self.endpoints.describe(self.endpoint) or {}
        reason = current.get("FailureReason", "no reason given")
        if current.get("EndpointStatus") != "InService":
            raise EndpointFailedError(f"{self.endpoint} is {current.get('EndpointStatus', 'gone')}: {reason}")
        if current["EndpointConfigName"] != config:
            raise DeploymentRolledBackError(
                f"{self.endpoint} serves {current['EndpointConfigName']}, not {config}: {reason}"
            )
        return {"endpoint": self.endpoint, "endpoint_config": config, "previous_config": previous}


class PackageEndpointOperator(EndpointOperator):
    """An operator of the endpoint of a role and of the package that it serves, or is to serve.

    :param package_digest: templated.
    """

    def __init__(self, *, role: Role, package_digest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.role = role
        self.package_digest = package_digest


class DeployEndpointOperator(PackageEndpointOperator):
    """Bring an endpoint to serve a package: created when it is missing, shifted blue/green when it is not."""

    returns = ("endpoint", "endpoint_config", "previous_config")
    template_fields: Sequence[str] = ("package_digest", "model_data_url")

    def __init__(self, *, model_data_url: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_data_url = model_data_url

    def execute(self, context: Context) -> None:
        """Create or update the endpoint unless it is on its way there already; then defer."""
        config = self.endpoints.ensure_config(self.settings, self.role, self.package_digest, self.model_data_url)
        current = self.endpoints.describe(self.endpoint)
        self.deploy_if_needed(config, current, run_id=context["run_id"])
        self.defer_until_stable(config, previous=current["EndpointConfigName"] if current else "")


class ClaimStagingOperator(EndpointOperator):
    """Make sure that no other run holds the staging endpoint; the setup that staging's removal is the teardown of."""

    role = "staging"

    def execute(self, context: Context) -> str:
        """Return the staging endpoint's name, or refuse."""
        current = self.endpoints.describe(self.endpoint)
        if current is not None:
            holder = self.endpoints.tags(current["EndpointArn"]).get(_RUN_TAG, "an unknown run")
            if holder != context["run_id"]:
                raise StagingInUseError(f"{self.endpoint} is held by {holder}; delete it if that run is over")
        return self.endpoint


class RemoveStagingOperator(EndpointOperator):
    """Delete the staging endpoint and its alias, wherever the run went."""

    role = "staging"

    def execute(self, context: Context) -> str:
        """Delete, once it has settled: SageMaker deletes nothing that is on its way. One that is gone is fine."""
        current = self.endpoints.describe(self.endpoint)
        if current is not None and current["EndpointStatus"] in _MOVING:
            self.defer_until_stable(current["EndpointConfigName"], previous="", method_name="remove")
        return self.remove(context)

    def remove(self, context: Context, **_: Any) -> str:
        """Delete endpoint and alias."""
        del context
        self.endpoints.delete(self.endpoint)
        self.model_registry.delete_alias("staging")
        return self.endpoint


class RestoreProductionOperator(EndpointOperator):
    """After a failed promotion: bring the endpoint back to the package that the alias ``production`` still names.

    :param approved_digest: package whose approval was found to hold; templated. Without one nothing was promoted, so
        whatever failed, production is left alone.
    """

    role = "production"
    returns = ("endpoint", "endpoint_config")
    template_fields: Sequence[str] = ("approved_digest",)

    def __init__(self, *, approved_digest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approved_digest = approved_digest

    def execute(self, context: Context) -> dict[str, str]:
        """Shift back unless SageMaker rolled back by itself; a failed first deployment is removed."""
        if not self.approved_digest:
            raise AirflowSkipException("no approval was acted on: nothing to restore")
        hook, package = self.endpoints, self.model_registry.by_alias("production")
        current = hook.describe(self.endpoint)
        if package is None:
            if current is not None and hook.tags(current["EndpointArn"]).get(_RUN_TAG) == context["run_id"]:
                hook.delete(self.endpoint)
            return {"endpoint": self.endpoint, "endpoint_config": ""}
        config = hook.ensure_config(self.settings, self.role, package.package_digest, package.model_data_url)
        if current is not None and current["EndpointStatus"] == "InService" and current["EndpointConfigName"] == config:
            return {"endpoint": self.endpoint, "endpoint_config": config}
        self.deploy_if_needed(config, current, run_id=context["run_id"])
        self.defer_until_stable(config, previous=current["EndpointConfigName"] if current else "")
