"""A marketplace database with a capture process behind it: servers and processes of their own, on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from moto.server import ThreadedMotoServer

from adrank.contracts import lake
from adrank.contracts.manifests import CdcManifest
from adrank.storage.object_store import ObjectStore
from ingestion.landing.changes import CdcTable
from simulator.sinks import operational_database
from tests.support.child_process import eventually
from tests.support.kafka_broker import StoreProcess
from tests.support.ports import free_port
from tests.support.postgres_server import HOST, PostgresServer

EVENT_CLOCK = {"TIME_COLUMN": "updated_at", "HEARTBEAT_INTERVAL": "PT0S"}
"""Rows say when they changed, and somebody else beats."""
USER = "adrank_capture"


class CaptureWorld:
    """PostgreSQL, a lake bucket and Secrets Manager, started on entry; the capture process is started by the test."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.postgres = PostgresServer()
        self.lake = StoreProcess(directory)
        self.secrets = ThreadedMotoServer(HOST, 0, verbose=False)
        # Its name is this world's own: all Secrets Managers of a test run are one.
        self.secret = f"adrank/cdc-{self.postgres.port}"
        self.settings = {
            "FLUSH_INTERVAL": "PT0.3S",
            "METRICS_PORT": str(free_port()),
            "SECRET_ID": self.secret,
            **settings,
        }
        self.log = directory / "capture.log"
        self.process: subprocess.Popen[bytes] | None = None
        #: Ends what was started, all of it even where one end fails.
        self._running = ExitStack()

    def __enter__(self) -> CaptureWorld:
        with ExitStack() as started:
            self.secrets.start()
            started.callback(self.secrets.stop)
            started.callback(self.lake.stop)
            self.lake.start()
            started.enter_context(self.postgres)
            self._prepare_database()
            password = json.dumps({"username": USER, "password": self.postgres.password})
            self._secrets_manager().create_secret(Name=self.secret, SecretString=password)
            started.callback(self.kill)
            self._running = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def store(self) -> ObjectStore:
        """The lake as a reader sees it."""
        return self.lake.connect()

    @property
    def bucket_directory(self) -> Path:
        """The lake's objects as files."""
        return self.lake.config.lake_dir / self.lake.bucket

    def start(self) -> None:
        """Start the capture process."""
        settings = {f"ADRANK_CDC__{name}": value for name, value in self.settings.items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ADRANK_", "AWS_"))},
            **self.lake.client_environment,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self._secrets_url,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "ADRANK_CDC__HOST": HOST,
            "ADRANK_CDC__PORT": str(self.postgres.port),
            **settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingestion.capture", "--bucket", self.lake.bucket],
                env=environment,
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and wait for its end; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            self.end(signal.SIGKILL)

    def exit_code(self) -> int:
        """Wait for a process that ends by itself."""
        assert self.process is not None
        code = self.process.wait(60)
        self.process = None
        return code

    def sql(self, *statements: str) -> None:
        """Run statements, each its own transaction."""
        connection = self.postgres.connect()
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query answers."""
        connection = self.postgres.connect()
        with connection.cursor() as cursor:
            cursor.execute(query)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        connection.close()
        return found

    def manifest(self, table: CdcTable, hour: Any) -> CdcManifest | None:
        """The manifest of an hour, if it has one."""
        body = self.store.find(lake.RAW_CDC(table).manifest(hour))
        return None if body is None else CdcManifest.model_validate_json(body)

    def wait_for(self, table: CdcTable, hour: Any, seconds: float = 60) -> CdcManifest:
        """The manifest of an hour, as soon as the process has written it."""
        manifest: CdcManifest = eventually(lambda: self._while_it_runs(self.manifest(table, hour)), seconds=seconds)
        return manifest

    def wait_for_snapshot(self) -> None:
        """Wait until what was there has landed."""
        eventually(lambda: self._while_it_runs(self.store.find(lake.CDC_CHECKPOINT.of("adrank"))))

    def envelopes(self, table: CdcTable, hour: Any) -> list[dict[str, Any]]:
        """The changes that an hour's manifest names, in the order of the log."""
        manifest = self.manifest(table, hour)
        assert manifest is not None, f"{table} {hour} is not closed"
        bodies = [self.store.get(lake.RAW_CDC(table).hour(hour) + file.name) for file in manifest.files]
        found = [json.loads(line) for body in bodies for line in body.splitlines()]
        assert len(found) == manifest.changes
        return sorted(found, key=lambda envelope: int(envelope["source"]["lsn"]))

    def checkpoint(self, slot: str = "adrank") -> dict[str, Any]:
        """The checkpoint object."""
        found: dict[str, Any] = json.loads(self.store.get(lake.CDC_CHECKPOINT.of(slot)))
        return found

    def metrics(self) -> str:
        """What Prometheus would read."""
        with urlopen(f"http://{HOST}:{self.settings['METRICS_PORT']}/metrics") as answer:
            return str(answer.read().decode())

    def _while_it_runs(self, answer: Any) -> Any:
        if answer is None and self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"capture ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        return answer

    def _prepare_database(self) -> None:
        connection = self.postgres.connect()
        with connection, connection.cursor() as cursor:
            operational_database.ensure_schema(cursor, "adrank")
            cursor.execute(f"CREATE ROLE {USER} LOGIN REPLICATION PASSWORD '{self.postgres.password}'")
            cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {USER}")
            cursor.execute(f"GRANT INSERT, UPDATE ON adrank_heartbeat TO {USER}")
        connection.close()

    @property
    def _secrets_url(self) -> str:
        host, port = self.secrets.get_host_and_port()
        return f"http://{host}:{port}"

    def _secrets_manager(self) -> Any:
        keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "testing")
        return boto3.client("secretsmanager", endpoint_url=self._secrets_url, region_name="eu-west-1", **keys)
