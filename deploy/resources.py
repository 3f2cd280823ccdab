"""What the lifecycle needs around it, as data: requests to make a bucket, tables, an EMR cluster, alarms and pools."""

from __future__ import annotations

from typing import Any, Final

from adrank.contracts.settings import Settings

Request = dict[str, Any]

STEP_CONCURRENCY: Final = 2
#: Airflow pool -> slots, deferred tasks counted. Twice the cluster's step concurrency: the next steps wait where they
#: start at once, in the cluster's own queue.
POOLS: Final = {"adrank_emr": 2 * STEP_CONCURRENCY, "adrank_sagemaker": 2}

_VARIANT: Final = "AllTraffic"
_ALARMS: Final[dict[str, Request]] = {
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


class UnknownAlarmError(LookupError):
    """The settings name a rollout alarm that nobody here knows how to define."""


def bucket(settings: Settings) -> Request:
    """S3's CreateBucket of the lake; us-east-1 is where S3 refuses to be told the region."""
    if settings.region == "us-east-1":
        return {"Bucket": settings.lake.bucket}
    return {
        "Bucket": settings.lake.bucket,
        "CreateBucketConfiguration": {"LocationConstraint": settings.region},
    }


def tables(settings: Settings) -> tuple[Request, ...]:
    """DynamoDB's CreateTable of the online features and of the experiments' routing."""
    return (
        _table(settings.online.features_table, {"entity_id": "HASH"}),
        _table(settings.online.experiments_table, {"endpoint": "HASH", "experiment_id": "RANGE"}),
    )


def cluster(settings: Settings) -> Request:
    """EMR's RunJobFlow of the cluster that takes the steps."""
    return {
        "Name": settings.emr.cluster_name,
        "ReleaseLabel": "emr-7.10.0",
        "Applications": [{"Name": "Spark"}],
        "StepConcurrencyLevel": STEP_CONCURRENCY,
        "LogUri": f"s3://{settings.lake.bucket}/logs/emr/",
        "Instances": {
            "KeepJobFlowAliveWhenNoSteps": True,
            "InstanceGroups": [
                {"Name": "primary", "InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
            ],
        },
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "ServiceRole": "EMR_DefaultRole",
        "Tags": [{"Key": "Name", "Value": settings.emr.cluster_name}],
    }


def alarms(settings: Settings, period_seconds: int = 60) -> tuple[Request, ...]:
    """CloudWatch's PutMetricAlarm of each alarm that guards a shift of production's traffic.

    SageMaker publishes its metrics once a minute, and CloudWatch takes no shorter ``period_seconds`` for them.

    Raises:
        UnknownAlarmError: the settings name an alarm that is not defined here.
    """
    if unknown := [name for name in settings.rollout.alarms if name not in _ALARMS]:
        raise UnknownAlarmError(f"rollout.alarms names {unknown[0]!r}; defined here are {', '.join(_ALARMS)}")
    return tuple(
        {
            "AlarmName": name,
            "Namespace": "AWS/SageMaker",
            "Dimensions": [
                {"Name": "EndpointName", "Value": settings.sagemaker.production_endpoint},
                {"Name": "VariantName", "Value": _VARIANT},
            ],
            "Period": period_seconds,
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            **_ALARMS[name],
        }
        for name in settings.rollout.alarms
    )


def _table(name: str, keys: dict[str, str]) -> Request:
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
    }
