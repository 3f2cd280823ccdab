"""Starts a stack until it is healthy and provisioned, and stops it until nothing of it is left.

Starting a stack that runs changes nothing, unless its settings changed: then it is stopped first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from adrank.contracts.settings import Settings
from localcloud.emr import spark_submit
from localcloud.settings import LocalcloudSettings
from stack import credentials, paths, ports
from stack.environment import MARKER, process_environment
from stack.servers import kafka, postgres
from stack.servers.programs import programs
from stack.settings import HOST, ROOT, StackSettings
from stack.start_up import AIRFLOW, INGESTION, StartUp
from stack.supervisor import orphans
from stack.supervisor.client import SupervisorClient
from stack.supervisor.config import render

Report = Callable[[str], None]


def start(stack: StackSettings, report: Report = print) -> None:
    """Bring the stack up: healthy, provisioned, code published.

    Raises:
        PortTakenError: before anything was started.
        StartError: a program failed; those already up keep running, for their logs and for another try.
    """
    began = time.monotonic()
    settings = _settings_of(stack)
    client = SupervisorClient(stack)
    variables = process_environment(stack) | {MARKER: str(stack.home)}
    fingerprint = _fingerprint(stack, variables)
    if client.pid() and _started_with(stack) != fingerprint:
        report("the settings have changed: stopping the stack that runs with the old ones")
        stop(stack, report)
    if not client.pid():
        orphans.end(stack, report)
        ports.require_free(stack)
        _make_directories(stack)
        kafka.adopt_log(stack)
        credentials.ensure(stack)
        spark_submit.write_defaults(LocalcloudSettings(host=HOST, lake_dir=paths.lake(stack)), paths.spark_conf(stack))
        credentials.write_private(paths.supervisor_config(stack), render(stack, programs(stack)))
        credentials.write_private(_started_file(stack), fingerprint)
        client.launch(variables)

    one_at_a_time = threading.Lock()

    def progress(line: str) -> None:
        with one_at_a_time:
            report(f"[{time.monotonic() - began:5.1f} s] {line}")

    StartUp(stack, settings, variables, progress).run()
    progress("the stack is up")


def stop(stack: StackSettings, report: Report = print) -> bool:
    """Stop what :func:`start` started, and nothing else; whether there was anything to stop."""
    client = SupervisorClient(stack)
    runs = client.pid() is not None
    started: list[psutil.Process] = []
    if runs:
        started = orphans.tree(client.pid())
        # First what uses the stores, so that nothing complains while it goes.
        client.stop((*INGESTION, "broker-retention", "mlflow", *AIRFLOW))
        client.stop(("localcloud", "kafka"))
        client.shut_down()
    was_left = orphans.end(stack, report, started)
    paths.supervisor_socket(stack).unlink(missing_ok=True)
    return runs or was_left


def discard(stack: StackSettings) -> None:
    """Delete everything a stopped stack wrote: databases, lake, logs, passwords."""
    data, socket = postgres.data_directory(stack), paths.supervisor_socket(stack)
    for directory in (data, stack.home):
        shutil.rmtree(directory, ignore_errors=not directory.exists())
    if socket.parent != stack.home:
        shutil.rmtree(socket.parent, ignore_errors=True)


@contextlib.contextmanager
def running(stack: StackSettings, report: Report = print) -> Iterator[StackSettings]:
    """The stack, up within the block and down after it, whatever happens in between. Its data stay."""
    try:
        start(stack, report)
        yield stack
    finally:
        stop(stack, report)


def status(stack: StackSettings) -> dict[str, str]:
    """Program -> supervisor's state; empty when the stack does not run."""
    client = SupervisorClient(stack)
    return client.states() if client.pid() else {}


def _settings_of(stack: StackSettings) -> Settings:
    """The lifecycle's settings as the stack's processes will read them."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(process_environment(stack, before))
    try:
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make_directories(stack: StackSettings) -> None:
    for directory_of in (paths.logs, paths.redis, paths.lake, paths.broker, paths.localcloud):
        directory_of(stack).mkdir(parents=True, exist_ok=True)
    configuration = paths.airflow_home(stack) / "config"
    configuration.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "local" / "stack" / "airflow_local_settings.py", configuration)


def _started_file(stack: StackSettings) -> Path:
    return stack.home / "started-with.json"


def _started_with(stack: StackSettings) -> str | None:
    file = _started_file(stack)
    return file.read_text() if file.exists() else None


def _fingerprint(stack: StackSettings, variables: Mapping[str, str]) -> str:
    """Everything that a running process would have to be restarted for."""
    own = {key: value for key, value in variables.items() if key in process_environment(stack, {})}
    return json.dumps({"environment": own, "programs": render(stack, programs(stack))}, indent=2, sort_keys=True)
