"""Makes what the platform team provides in production: bucket, tables, EMR cluster, alarms, Airflow pools.

Everything is idempotent: what is there stays as it is. ``python -m stack.provision`` makes the AWS part and publishes
the jobs' code, with the AWS access of the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from adrank.contracts.settings import Settings, load
from stack import publish
from stack.airflow_client import AirflowApiError, AirflowClient
from stack.environment import POOLS
from stack.settings import StackSettings

STEP_CONCURRENCY: Final = 2
_VARIANT: Final = "AllTraffic"
_ALIVE: Final = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]


class UnknownAlarmError(LookupError):
    """The settings name a rollout alarm that nobody here knows how to define."""


def provision_aws(client: Callable[[str], Any], settings: Settings) -> None:
    """The lake, DynamoDB tables, EMR cluster and CloudWatch alarms. ``client`` makes a boto3 client of a service."""
    _bucket(client("s3"), settings.lake.bucket, settings.region)
    _tables(client("dynamodb"), settings)
    _cluster(client("emr"), settings)
    _alarms(client("cloudwatch"), settings)


def provision_airflow(stack: StackSettings) -> None:
    """The pools that keep the DAGs within what the cluster and the account can take."""
    airflow = AirflowClient(stack)
    for name, slots in POOLS.items():
        try:
            airflow.get(f"/pools/{name}")
        except AirflowApiError as error:
            if error.status != 404:
                raise
            description = "made by make up"
            airflow.post("/pools", {"name": name, "slots": slots, "description": description, "include_deferred": True})


def _bucket(s3: Any, bucket: str, region: str) -> None:
    try:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


def _tables(dynamodb: Any, settings: Settings) -> None:
    _table(dynamodb, settings.online.features_table, {"entity_id": "HASH"})
    _table(dynamodb, settings.online.experiments_table, {"endpoint": "HASH", "experiment_id": "RANGE"})
    dynamodb.get_waiter("table_exists").wait(
        TableName=settings.online.experiments_table, WaiterConfig={"Delay": 1, "MaxAttempts": 300}
    )


def _table(dynamodb: Any, name: str, keys: dict[str, str]) -> None:
    try:
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise


def _cluster(emr: Any, settings: Settings) -> None:
    alive = emr.get_paginator("list_clusters").paginate(ClusterStates=_ALIVE)
    if any(cluster["Name"] == settings.emr.cluster_name for page in alive for cluster in page["Clusters"]):
        return
    emr.run_job_flow(
        Name=settings.emr.cluster_name,
        ReleaseLabel="emr-7.10.0",
        Applications=[{"Name": "Spark"}],
        StepConcurrencyLevel=STEP_CONCURRENCY,
        LogUri=f"s3://{settings.lake.bucket}/logs/emr/",
        Instances={
            "KeepJobFlowAliveWhenNoSteps": True,
            "InstanceGroups": [
                {"Name": "primary", "InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
            ],
        },
        JobFlowRole="EMR_EC2_DefaultRole",
        ServiceRole="EMR_DefaultRole",
        Tags=[{"Key": "Name", "Value": settings.emr.cluster_name}],
    )


def _alarms(cloudwatch: Any, settings: Settings) -> None:
    known: dict[str, dict[str, Any]] = {
        "adrank-production-5xx": {
            "MetricName": "Invocation5XXErrors",
            "Statistic": "Sum",
            "Threshold": 0,
            "AlarmDescription": "A request to the production endpoint failed.",
        },
        "adrank-production-latency": {
            "MetricName": "ModelLatency",
            "ExtendedStatistic": "p99",
            "Threshold": 1_000_000,
            "Unit": "Microseconds",
            "AlarmDescription": "1 % of the production endpoint's answers took longer than 1 s.",
        },
    }
    for name in settings.rollout.alarms:
        if name not in known:
            raise UnknownAlarmError(f"rollout.alarms names {name!r}; defined here are {', '.join(known)}")
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            Dimensions=[
                {"Name": "EndpointName", "Value": settings.sagemaker.production_endpoint},
                {"Name": "VariantName", "Value": _VARIANT},
            ],
            Period=10,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            **known[name],
        )


def main() -> None:
    """Provision and publish."""
    settings = load()
    provision_aws(boto3.client, settings)
    publish.publish(boto3.client("s3"), settings.lake.bucket, settings.lake.code_prefix)


if __name__ == "__main__":
    main()
