"""Gives a stack what :mod:`deploy` declares: AWS resources and the jobs' code, and Airflow's pools by its REST API.

``python -m stack.provision`` makes the AWS part for ``docker-compose.yaml``, with the AWS access of the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import boto3

from adrank.contracts.settings import Settings, load
from deploy import provision, publish, resources
from stack.airflow_client import AirflowApiError, AirflowClient
from stack.settings import StackSettings

#: localcloud publishes metrics every few seconds, so that a demo's shift is guarded within its short steps.
_ALARM_PERIOD_SECONDS: Final = 10


def provision_aws(client: Callable[[str], Any], settings: Settings) -> None:
    """All resources and the jobs' code. ``client`` makes a boto3 client of a service."""
    provision.provision(client, settings, resources.alarms(settings, _ALARM_PERIOD_SECONDS))
    publish.publish(client("s3"), settings.lake.bucket, settings.lake.code_prefix)


def provision_airflow(stack: StackSettings) -> None:
    """The pools that keep the DAGs within what the cluster and the account can take; what is there stays."""
    airflow = AirflowClient(stack)
    for name, slots in resources.POOLS.items():
        try:
            airflow.request("GET", f"/pools/{name}")
        except AirflowApiError as error:
            if error.status != 404:
                raise
            pool = {"name": name, "slots": slots, "description": "made by make up", "include_deferred": True}
            airflow.request("POST", "/pools", pool)


if __name__ == "__main__":
    provision_aws(boto3.client, load())
