"""SageMaker endpoints: what serves, on which configuration, and what it answers."""

from __future__ import annotations

import json
from typing import Any, cast

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

from adrank.contracts.sagemaker_requests import Role, config_request, model_request
from adrank.contracts.settings import Settings


class EndpointsHook(SageMakerHook):
    """Models, endpoint configurations and endpoints, by deterministic names."""

    def __init__(self, aws_conn_id: str, region_name: str) -> None:
        super().__init__(aws_conn_id=aws_conn_id, region_name=region_name)  # type: ignore[no-untyped-call]

    def ensure_config(self, settings: Settings, role: Role, package_digest: str, model_data_url: str) -> str:
        """Create model and endpoint configuration of a package in a role unless they are there."""
        model = model_request(settings, package_digest, model_data_url)
        if self._find("model", ModelName=model["ModelName"]) is None:
            self.conn.create_model(**model)
        config = config_request(settings, role, model["ModelName"])
        name = cast(str, config["EndpointConfigName"])
        if self._find("endpoint_config", EndpointConfigName=name) is None:
            self.conn.create_endpoint_config(**config)
        return name

    def describe(self, endpoint: str) -> dict[str, Any] | None:
        """The endpoint as SageMaker describes it, or nothing."""
        return self._find("endpoint", EndpointName=endpoint)

    def tags(self, endpoint_arn: str) -> dict[str, str]:
        """The endpoint's tags."""
        return {tag["Key"]: tag["Value"] for tag in self.conn.list_tags(ResourceArn=endpoint_arn)["Tags"]}

    def create(self, endpoint: str, config: str, tags: dict[str, str]) -> None:
        """Create an endpoint."""
        self.conn.create_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def update(self, endpoint: str, config: str, deployment: dict[str, Any]) -> None:
        """Shift an endpoint to another configuration."""
        self.conn.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, DeploymentConfig=deployment)

    def delete(self, endpoint: str) -> None:
        """Delete an endpoint; one that is gone already is fine."""
        try:
            self.conn.delete_endpoint(EndpointName=endpoint)
        except self.conn.exceptions.ClientError as error:
            if not _is_missing(error):
                raise

    def invoke(self, endpoint: str, request: dict[str, Any]) -> dict[str, Any]:
        """One JSON request to an endpoint."""
        runtime = AwsBaseHook(
            aws_conn_id=self.aws_conn_id, region_name=self.region_name, client_type="sagemaker-runtime"
        ).conn
        response = runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType="application/json", Body=json.dumps(request).encode()
        )
        return cast(dict[str, Any], json.loads(response["Body"].read()))

    def _find(self, kind: str, **name: str) -> dict[str, Any] | None:
        try:
            return cast(dict[str, Any], getattr(self.conn, f"describe_{kind}")(**name))
        except self.conn.exceptions.ClientError as error:
            if _is_missing(error):
                return None
            raise


def _is_missing(error: Any) -> bool:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    return code in ("ValidationException", "ResourceNotFound") and "could not find" in message.lower()
