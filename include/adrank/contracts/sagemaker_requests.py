"""What SageMaker is asked for: jobs, models, endpoints and the shift between two of them, as request dictionaries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from adrank.contracts import lake
from adrank.contracts.entry_points.serving import ServedRowsEnvironment, ServingEnvironment, StoresEnvironment
from adrank.contracts.settings import Rollout, Settings

Role = Literal["staging", "production"]
_VOLUME_GB: Final = 100
_PROCESSING_DIR: Final = "/opt/ml/processing"


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


def deployment_config(rollout: Rollout) -> dict[str, Any]:
    """UpdateEndpoint's DeploymentConfig for a blue/green shift watched by alarms."""
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


def processing_request(
    settings: Settings,
    name: str,
    entrypoint: str,
    arguments: Sequence[str],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """CreateProcessingJob arguments for a module of the training image.

    :param inputs: name -> URI: of a ``.manifest``, which lists files exactly, or of a prefix; an empty one is left out.
    :param outputs: name -> key prefix in the lake.
    """
    sagemaker = settings.sagemaker
    return {
        "ProcessingJobName": name,
        "RoleArn": sagemaker.role_arn,
        "AppSpecification": {
            "ImageUri": sagemaker.training_image,
            "ContainerEntrypoint": ["python", "-m", entrypoint],
            **({"ContainerArguments": list(arguments)} if arguments else {}),
        },
        "ProcessingResources": {"ClusterConfig": _instances(sagemaker.processing_instance)},
        "ProcessingInputs": [
            {
                "InputName": key,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": f"{_PROCESSING_DIR}/input/{key}",
                    "S3DataType": "ManifestFile" if uri.endswith(".manifest") else "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for key, uri in inputs.items()
            if uri
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": key,
                    "S3Output": {
                        "S3Uri": lake.uri(settings.lake.bucket, prefix),
                        "LocalPath": f"{_PROCESSING_DIR}/output/{key}",
                        "S3UploadMode": "EndOfJob",
                    },
                }
                for key, prefix in outputs.items()
            ]
        },
        "StoppingCondition": _stopping(settings),
        "Environment": {"AWS_REGION": settings.region},
        "Tags": _tags(tags),
    }


def training_request(
    settings: Settings,
    name: str,
    hyperparameters: Mapping[str, str],
    training_set: str,
    output_prefix: str,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """CreateTrainingJob arguments for the training module.

    :param training_set: key prefix of the ``training_set`` channel.
    :param output_prefix: key prefix under which ``<job>/output/model.tar.gz`` will lie.
    """
    return {
        "TrainingJobName": name,
        "RoleArn": settings.sagemaker.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": settings.sagemaker.training_image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "-m", "training.train"],
        },
        "HyperParameters": {**hyperparameters, "run_name": name},
        "InputDataConfig": [
            {
                "ChannelName": "training_set",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": lake.uri(settings.lake.bucket, training_set),
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": lake.uri(settings.lake.bucket, output_prefix.rstrip("/"))},
        "ResourceConfig": _instances(settings.sagemaker.training_instance),
        "StoppingCondition": _stopping(settings),
        "Environment": {"MLFLOW_TRACKING_URI": settings.training.mlflow_tracking_uri},
        "Tags": _tags(tags),
    }


def _instances(kind: str) -> dict[str, Any]:
    return {"InstanceCount": 1, "InstanceType": kind, "VolumeSizeInGB": _VOLUME_GB}


def _stopping(settings: Settings) -> dict[str, int]:
    return {"MaxRuntimeInSeconds": int(settings.sagemaker.job_timeout.total_seconds())}


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
