"""Starts a stack until it is healthy and provisioned, and stops it until nothing of it is left.

Every wait asks a server until it answers or a deadline passes; what does not depend on each other starts at the same
time. Starting a stack that runs changes nothing, unless its settings changed: then it is stopped first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from adrank.contracts.settings import Settings
from localcloud.config import Config
from stack import (
    aws,
    credentials,
    health,
    kafka,
    leftovers,
    marketplace,
    paths,
    ports,
    postgres,
    provision,
    publish,
    spark_target,
)
from stack.environment import MARKETPLACE, process_environment
from stack.programs import LOCALCLOUD, MARKER, programs
from stack.settings import HOST, ROOT, StackSettings
from stack.supervisor_config import render
from stack.watcher import Watcher

Report = Callable[[str], None]

INGESTION: Final = ("archiver", "capture", "billing-exporter")
AIRFLOW: Final = ("airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
_POLL: Final = 0.25
_LOG_LINES: Final = 30


class StartError(RuntimeError):
    """The stack did not come up; the message names the program and ends with its last log lines."""


def start(stack: StackSettings, report: Report = print) -> None:
    """Bring the stack up: healthy, provisioned, code published.

    Raises:
        PortTakenError: before anything was started.
        StartError: a program failed; those already up keep running, for their logs and for another try.
    """
    began = time.monotonic()
    settings = _settings_of(stack)
    watcher = Watcher(stack)
    variables = process_environment(stack) | {MARKER: str(stack.home)}
    wanted = _fingerprint(stack, variables)
    if watcher.pid() and _started_with(stack) != wanted:
        report("the settings have changed: stopping the stack that runs with the old ones")
        stop(stack, report)
    if not watcher.pid():
        leftovers.end(stack, report)
        ports.require_free(stack)
        _make_directories(stack)
        credentials.ensure(stack)
        spark_target.configure(Config(host=HOST, lake_dir=paths.lake(stack)), paths.spark_conf(stack))
        _write_private(paths.supervisor_config(stack), render(stack, programs(stack)))
        _write_private(_started_file(stack), wanted)
        watcher.launch(variables)

    one_at_a_time = threading.Lock()

    def progress(line: str) -> None:
        with one_at_a_time:
            report(f"[{time.monotonic() - began:5.1f} s] {line}")

    provisioned = Future[None]()
    _in_parallel(
        lambda: _start_databases_and_airflow(stack, variables, progress, provisioned),
        lambda: _start_cloud(stack, settings, progress, provisioned),
        lambda: _bring_up(stack, "redis", progress),
    )
    progress("the stack is up")


def stop(stack: StackSettings, report: Report = print) -> None:
    """Stop what :func:`start` started, and nothing else; does nothing when it does not run."""
    watcher = Watcher(stack)
    if watcher.pid():
        started = leftovers.tree(watcher.pid())
        # First what uses the stores, so that nothing complains while it goes.
        watcher.stop((*INGESTION, "mlflow", *AIRFLOW))
        watcher.stop(("localcloud", "kafka"))
        watcher.shut_down()
        leftovers.end(stack, report, started)
        report("the stack is down")
    else:
        leftovers.end(stack, report)
        report("the stack does not run")
    paths.supervisor_socket(stack).unlink(missing_ok=True)


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
    watcher = Watcher(stack)
    return watcher.states() if watcher.pid() else {}


def _start_databases_and_airflow(
    stack: StackSettings, variables: Mapping[str, str], report: Report, provisioned: Future[None]
) -> None:
    postgres.ensure_cluster(stack)
    _bring_up(stack, "postgres", report)
    postgres.ensure_databases(stack)
    _in_parallel(
        lambda: _bring_up(stack, "mlflow", report),
        lambda: _start_airflow(stack, variables, report),
        lambda: _start_capture(stack, report, provisioned),
    )


def _start_capture(stack: StackSettings, report: Report, provisioned: Future[None]) -> None:
    marketplace.ensure(postgres.dsn(stack, MARKETPLACE), credentials.capture_password(stack))
    provisioned.result()
    _bring_up(stack, "capture", report)


def _start_airflow(stack: StackSettings, variables: Mapping[str, str], report: Report) -> None:
    _migrate(stack, variables)
    report("airflow's database is migrated")
    _in_parallel(*(lambda name=name: _bring_up(stack, name, report) for name in AIRFLOW))
    provision.provision_airflow(stack)


def _start_cloud(stack: StackSettings, settings: Settings, report: Report, provisioned: Future[None]) -> None:
    """``provisioned`` is done, well or ill, when buckets, tables and secrets are there."""
    try:
        _in_parallel(*(lambda name=name: _bring_up(stack, name, report) for name in LOCALCLOUD))
        provision.provision_aws(partial(aws.client, stack), settings)
        marketplace.keep_secret(
            aws.client(stack, "secretsmanager"), settings.cdc.secret_id, credentials.capture_password(stack)
        )
        publish.publish(aws.client(stack, "s3"), settings.lake.bucket, settings.lake.code_prefix)
        report("buckets, tables, cluster and alarms are there; the jobs' code is published")
        provisioned.set_result(None)
    except BaseException:
        provisioned.cancel()
        raise
    _bring_up(stack, "billing-exporter", report)
    _bring_up(stack, "kafka", report)
    kafka.ensure_topics(stack, settings.events)
    _bring_up(stack, "archiver", report)


def _bring_up(stack: StackSettings, program: str, report: Report) -> None:
    """Start one program and wait until it is healthy."""
    watcher = Watcher(stack)
    healthy = health.checks(stack)[program]
    watcher.start(program)
    deadline = time.monotonic() + stack.start_timeout
    while not healthy():
        if watcher.has_failed(program):
            raise StartError(_failure(stack, program, "keeps ending"))
        if time.monotonic() > deadline:
            raise StartError(_failure(stack, program, f"is not healthy after {stack.start_timeout:.0f} s"))
        time.sleep(_POLL)
    report(f"{program} is healthy")


def _failure(stack: StackSettings, program: str, how: str) -> str:
    log = paths.log(stack, program)
    tail = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    return "\n".join([f"{program} {how}; the end of {log}:", *(f"  {line}" for line in tail)])


def _migrate(stack: StackSettings, variables: Mapping[str, str]) -> None:
    """Bring Airflow's metadata database to this version's schema, unless it was made by this version."""
    marker = paths.airflow_home(stack) / "migrated"
    now = f"{version('apache-airflow-core')} in cluster {postgres.identity(stack)}"
    if marker.exists() and marker.read_text() == now:
        return
    log = paths.log(stack, "airflow-migrate")
    command = [sys.executable, str(ROOT / ".venv" / "bin" / "airflow"), "db", "migrate"]
    with log.open("w") as output:
        done = subprocess.run(  # noqa: S603
            command, env=dict(variables), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise StartError(_failure(stack, "airflow-migrate", "failed"))
    marker.write_text(now)


def _in_parallel(*tracks: Callable[[], None]) -> None:
    """Run all to their ends; then the first failure, if any, is raised."""
    with ThreadPoolExecutor(len(tracks)) as pool:
        for running_track in [pool.submit(track) for track in tracks]:
            running_track.result()


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
    for directory in (paths.logs(stack), paths.redis(stack), paths.lake(stack), paths.localcloud(stack)):
        directory.mkdir(parents=True, exist_ok=True)


def _started_file(stack: StackSettings) -> Path:
    return stack.home / "started-with.json"


def _started_with(stack: StackSettings) -> str | None:
    file = _started_file(stack)
    return file.read_text() if file.exists() else None


def _fingerprint(stack: StackSettings, variables: Mapping[str, str]) -> str:
    """Everything that a running process would have to be restarted for."""
    own = {key: value for key, value in variables.items() if key in process_environment(stack, {})}
    return json.dumps({"environment": own, "programs": render(stack, programs(stack))}, indent=2, sort_keys=True)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
