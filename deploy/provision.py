"""``python -m deploy.provision``: makes the AWS resources that :mod:`deploy.resources` declares.

Everything is idempotent: what is there stays as it is, but alarms, which are put again. Airflow's pools are made in
Airflow: by its API, its command line or its UI.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from adrank.contracts.settings import Settings, load
from deploy import resources
from deploy.resources import Request

_ALIVE: Final = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]


def provision(client: Callable[[str], Any], settings: Settings, alarms: tuple[Request, ...]) -> None:
    """Make the lake, DynamoDB tables, EMR cluster and ``alarms``. ``client`` makes a boto3 client of a service."""
    _create(client("s3").create_bucket, resources.bucket(settings), "BucketAlreadyOwnedByYou")
    _create_tables(client("dynamodb"), resources.tables(settings))
    emr, cluster = client("emr"), resources.cluster(settings)
    alive = emr.get_paginator("list_clusters").paginate(ClusterStates=_ALIVE)
    if not any(other["Name"] == cluster["Name"] for page in alive for other in page["Clusters"]):
        emr.run_job_flow(**cluster)
    cloudwatch = client("cloudwatch")
    for alarm in alarms:
        cloudwatch.put_metric_alarm(**alarm)


def _create(create: Callable[..., Any], request: Request, already_there: str) -> None:
    try:
        create(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != already_there:
            raise


def _create_tables(dynamodb: Any, tables: tuple[Request, ...]) -> None:
    for table in tables:
        _create(dynamodb.create_table, table, "ResourceInUseException")
    for table in tables:
        dynamodb.get_waiter("table_exists").wait(
            TableName=table["TableName"], WaiterConfig={"Delay": 1, "MaxAttempts": 300}
        )


def main() -> None:
    """Provision with the AWS access of the environment."""
    settings = load()
    provision(partial(boto3.client, region_name=settings.region), settings, resources.alarms(settings))


if __name__ == "__main__":
    main()
