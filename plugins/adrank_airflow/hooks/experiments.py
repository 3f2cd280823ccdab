"""The experiments table: what the router obeys."""

from __future__ import annotations

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

from adrank.contracts.experiments import Experiment


class ExperimentsHook(AwsBaseHook):
    """Experiments of one production endpoint."""

    def __init__(self, table: str, aws_conn_id: str, region_name: str) -> None:
        super().__init__(aws_conn_id=aws_conn_id, region_name=region_name, client_type="dynamodb")
        self.table = table

    def of_endpoint(self, endpoint: str) -> list[Experiment]:
        """Every experiment that ``endpoint`` was the control of; at most one is running in good order."""
        pages = self.conn.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="endpoint = :endpoint",
            ExpressionAttributeValues={":endpoint": {"S": endpoint}},
            ConsistentRead=True,
        )
        return [Experiment.model_validate_json(item["document"]["S"]) for page in pages for item in page["Items"]]

    def put(self, experiment: Experiment) -> None:
        """Write an experiment, replacing its item."""
        self.conn.put_item(
            TableName=self.table,
            Item={
                "endpoint": {"S": experiment.control_endpoint},
                "experiment_id": {"S": experiment.experiment_id},
                "status": {"S": experiment.status},
                "document": {"S": experiment.model_dump_json()},
            },
        )
