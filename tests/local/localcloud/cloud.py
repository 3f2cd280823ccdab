"""A whole localcloud on free ports, as a supervisor would start it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config as ClientConfig

from localcloud.settings import LocalcloudSettings
from tests.support.child_process import eventually
from tests.support.ports import free_port

IMAGE = "000000000000.dkr.ecr.eu-west-1.amazonaws.com/toy:current"
ROLE = "arn:aws:iam::000000000000:role/toy"
LOCAL = Path(__file__).parents[3] / "local"
MODULES = {
    "control_plane": "localcloud.control_plane",
    "object_store": "localcloud.storage.object_store",
    "dynamodb": "localcloud.storage.dynamodb",
}
T = TypeVar("T")


class Cloud:
    """The three programs of localcloud and clients for them."""

    def __init__(self, directory: Path, redis_port: int | None = None) -> None:
        self.config = LocalcloudSettings(
            port=free_port(),
            gateway_port=free_port(),
            s3_port=free_port(),
            dynamodb_port=free_port(),
            redis_port=redis_port or free_port(),
            state_dir=directory / "state",
            lake_dir=directory / "lake",
            work_dir=directory / "work",
            images=Path(__file__).parent / "toy_image/images.yaml",
            python=Path(sys.executable),
            environment={"GREETING": "hello"},
            spark_master="local[1]",
            spark_driver_memory="512m",
            spark_shuffle_partitions=1,
            stop_grace_seconds=2,
            ping_timeout_seconds=20,
            metrics_seconds=0.2,
            alarms_seconds=0.1,
        )
        self.bucket = self.config.bucket
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *programs: str) -> None:
        """Start the programs, all by default, and wait until they answer."""
        environment = {**os.environ, **self.environment}
        chosen = programs or tuple(MODULES)
        for program in chosen:
            command = [sys.executable, "-m", MODULES[program]]
            self.processes[program] = subprocess.Popen(command, env=environment)
        ports = {
            "control_plane": self.config.port,
            "object_store": self.config.s3_port,
            "dynamodb": self.config.dynamodb_port,
        }
        for program in chosen:
            eventually(lambda port=ports[program]: _listens(port), seconds=40)  # type: ignore[misc]

    def stop(self, *programs: str, number: int = signal.SIGTERM) -> None:
        """Signal the programs, all by default, and wait for their end."""
        chosen = [self.processes.pop(program) for program in programs or tuple(self.processes)]
        for process in chosen:
            process.send_signal(number)
        for process in chosen:
            process.wait(30)

    def client(self, service: str, endpoint: int | None = None) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{endpoint or self.config.port}",
            region_name=self.config.region,
            aws_access_key_id=self.config.access_key,
            aws_secret_access_key=self.config.secret_key,
            config=ClientConfig(
                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=20
            ),
        )

    @property
    def s3(self) -> Any:
        return self.client("s3", self.config.s3_port)

    @property
    def dynamodb(self) -> Any:
        return self.client("dynamodb", self.config.dynamodb_port)

    @property
    def runtime(self) -> Any:
        return self.client("sagemaker-runtime", self.config.gateway_port)

    def path(self, key: str) -> Path:
        return self.config.lake_dir / self.bucket / key

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, text: str) -> str:
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        self.path(key).write_text(text)
        return self.uri(key)

    def put_model(self, word: str) -> str:
        """A model archive that makes the toy server say ``word``."""
        self.path("models").mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.path(f"models/{word}.tar.gz"), "w:gz") as tar:
            member = tarfile.TarInfo("word.txt")
            member.size = len(word)
            tar.addfile(member, io.BytesIO(word.encode()))
        return self.uri(f"models/{word}.tar.gz")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The gateway's own routes: faults, endpoints, health."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.config.gateway_url}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return {"status": error.code, **json.loads(error.read())}

    @property
    def environment(self) -> dict[str, str]:
        """What the programs are configured with."""
        dumped = self.config.model_dump(mode="json")
        settings = {
            f"LOCALCLOUD_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in dumped.items()
        }
        return {"PYTHONPATH": str(LOCAL), **settings}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
