"""A DynamoDB API that holds to DynamoDB's rules, as a process on a free loopback port."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import boto3

from localcloud.settings import LocalcloudSettings
from tests.support.child_process import ChildProcess, eventually
from tests.support.ports import free_port


class TableServer(ChildProcess):
    """Tables below a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.port = free_port()
        self.log = directory / "tables.log"
        self.command = (sys.executable, "-m", "localcloud.storage.dynamodb")
        self.environment = {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LOCALCLOUD_DYNAMODB_PORT": str(self.port),
            "LOCALCLOUD_LAKE_DIR": str(directory / "buckets"),
            "LOCALCLOUD_STATE_DIR": str(directory / "state"),
            "LOCALCLOUD_WORK_DIR": str(directory / "work"),
        }
        self.url = f"http://127.0.0.1:{self.port}"

    def connect(self) -> Any:
        """A client with fixed credentials."""
        config = LocalcloudSettings()
        return boto3.client(
            "dynamodb",
            endpoint_url=self.url,
            region_name=config.region,
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key,
        )

    def create(self, table: str) -> None:
        """A table with the one key ``entity_id``."""
        client = self.connect()
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        eventually(lambda: client.describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE")
