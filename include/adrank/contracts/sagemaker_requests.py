"""How a package becomes SageMaker resources: names that say what they hold, and the container's environment."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from adrank.contracts.entry_points.serving import ServedRowsEnvironment, ServingEnvironment, StoresEnvironment
from adrank.contracts.settings import Settings

Role = Literal["staging", "production"]


def serving_environment(settings: Settings, package_digest: str) -> dict[str, str]:
    """What the inference container of a package is told."""
    online = settings.online
    stores = StoresEnvironment(
        redis_host=online.redis_host,
        redis_port=online.redis_port,
        redis_tls=online.redis_tls,
        redis_timeout_ms=online.redis_timeout_ms,
        features_table=online.features_table,
        dynamodb_timeout_ms=online.dynamodb_timeout_ms,
        region=settings.region,
    )
    served = ServedRowsEnvironment(share=settings.audit.served_sample, bucket=settings.lake.bucket)
    sections = (ServingEnvironment(package_digest=package_digest), stores, served)
    return {name: value for section in sections for name, value in section.variables().items()}


def model_request(settings: Settings, package_digest: str, model_data_url: str) -> dict[str, Any]:
    """CreateModel arguments; the name follows from the package and from everything that surrounds it."""
    environment = serving_environment(settings, package_digest)
    image = settings.sagemaker.serving_image
    around = hashlib.sha256(json.dumps([image, environment, model_data_url]).encode()).hexdigest()
    return {
        "ModelName": f"adrank-{package_digest[:12]}-{around[:8]}",
        "ExecutionRoleArn": settings.sagemaker.role_arn,
        "PrimaryContainer": {"Image": image, "ModelDataUrl": model_data_url, "Environment": environment},
    }


def config_request(settings: Settings, role: Role, model: str) -> dict[str, Any]:
    """CreateEndpointConfig arguments for a model in a role."""
    sagemaker = settings.sagemaker
    instances = sagemaker.staging_instances if role == "staging" else sagemaker.production_instances
    return {
        "EndpointConfigName": f"{model}-{role}-{instances}",
        "ProductionVariants": [
            {
                "VariantName": "AllTraffic",
                "ModelName": model,
                "InstanceType": sagemaker.serving_instance,
                "InitialInstanceCount": instances,
                "InitialVariantWeight": 1.0,
            }
        ],
    }
