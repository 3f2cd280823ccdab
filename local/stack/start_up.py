"""Brings a stack's programs up in the order in which they need each other, each until it is healthy.

What does not depend on each other starts at the same time. A program has failed when the supervisor gives it up, when
it ends again and again, or when it is neither healthy nor at work for ``start_timeout`` seconds: on a slow machine a
start may take as long as it takes.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Final

from adrank.contracts.settings import Settings
from stack import credentials, health, paths, provision
from stack.environment import MARKETPLACE, aws_client
from stack.process_cpu import tree_seconds
from stack.servers import kafka, marketplace, postgres
from stack.servers.programs import LOCALCLOUD
from stack.settings import ROOT, StackSettings
from stack.stall import ProgressWatch, Signal, StalledError, steps
from stack.supervisor.client import SupervisorClient

INGESTION: Final = ("archiver", "capture", "billing-exporter")
AIRFLOW: Final = ("airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
_POLL: Final = 0.25
_LOG_LINES: Final = 30
#: Share of a core below which a process counts as idle: a server that has nothing to do takes a third of it.
_IDLE_SHARE: Final = 0.1
#: Processes that a program may have until it is healthy; the supervisor counts those only that end at once.
_MAX_STARTS: Final = 4


class StartError(RuntimeError):
    """The stack did not come up; the message names the program and ends with its last log lines."""


class StartUp:
    """One start. ``variables``: the processes' environment; ``settings``: the lifecycle's, as they will read them."""

    def __init__(
        self, stack: StackSettings, settings: Settings, variables: Mapping[str, str], report: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._variables = variables
        self._report = report
        self._supervisor = SupervisorClient(stack)
        #: Done, well or ill, when buckets, tables and secrets are there.
        self._provisioned = Future[None]()
        self._given_up = threading.Event()

    def run(self) -> None:
        """Return when all is healthy and provisioned; interrupted, give up what is still on its way.

        Raises:
            StartError: a program failed; those already up keep running, for their logs and for another try.
        """
        self._in_parallel(self._databases_and_airflow, self._cloud, lambda: self._bring_up("redis"))

    def _databases_and_airflow(self) -> None:
        postgres.ensure_cluster(self._stack)
        self._bring_up("postgres")
        postgres.ensure_databases(self._stack)
        self._in_parallel(lambda: self._bring_up("mlflow"), self._airflow, self._capture)

    def _capture(self) -> None:
        marketplace.ensure(postgres.dsn(self._stack, MARKETPLACE), credentials.capture_password(self._stack))
        try:
            self._provisioned.result()
        except CancelledError:
            return  # the track that provisions has the reason
        self._bring_up("capture")

    def _airflow(self) -> None:
        self._migrate()
        self._report("airflow's database is migrated")
        self._in_parallel(*(partial(self._bring_up, name, AIRFLOW[:1]) for name in AIRFLOW))
        provision.provision_airflow(self._stack)

    def _cloud(self) -> None:
        stack, settings = self._stack, self._settings
        try:
            self._in_parallel(*(partial(self._bring_up, name) for name in LOCALCLOUD))
            provision.provision_aws(partial(aws_client, stack), settings)
            marketplace.keep_secret(
                aws_client(stack, "secretsmanager"), settings.cdc.secret_id, credentials.capture_password(stack)
            )
            self._report("buckets, tables, cluster and alarms are there; the jobs' code is published")
            self._provisioned.set_result(None)
        except BaseException:
            self._provisioned.cancel()
            raise
        self._bring_up("billing-exporter")
        self._bring_up("kafka")
        kafka.ensure_topics(stack, settings.events)
        self._bring_up("archiver")
        self._bring_up("broker-retention")

    def _bring_up(self, program: str, needed: tuple[str, ...] = ()) -> None:
        """Start one program and wait until it is healthy. Its health may hang on the programs ``needed``."""
        healthy = health.checks(self._stack)[program]
        self._supervisor.start(program)
        started: set[int] = set()
        limit = self._stack.start_timeout
        watch = ProgressWatch(limit, programs_at_work(self._stack, limit, program, *needed))
        while not healthy():
            if self._supervisor.has_failed(program):
                raise StartError(failure(self._stack, program, "keeps ending"))
            started |= {pid for name, pid in self._supervisor.pids().items() if name == program}
            if len(started) > _MAX_STARTS:
                raise StartError(failure(self._stack, program, f"was started {len(started)} times"))
            self._wait(watch, program)
        self._report(f"{program} is healthy")

    def _migrate(self) -> None:
        """Bring Airflow's metadata database to this version's schema, unless it was made by this version."""
        stack, name = self._stack, "airflow-migrate"
        marker = paths.airflow_home(stack) / "migrated"
        now = f"{version('apache-airflow-core')} in cluster {postgres.identity(stack)}"
        if marker.exists() and marker.read_text() == now:
            return
        command = [sys.executable, str(ROOT / ".venv" / "bin" / "airflow"), "db", "migrate"]
        with paths.log(stack, name).open("w") as output:
            child = subprocess.Popen(  # noqa: S603
                command,
                env=dict(self._variables),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        limit = stack.start_timeout
        watch = ProgressWatch(limit, _at_work(name, lambda: tree_seconds(child.pid), limit))
        try:
            while child.poll() is None:
                self._wait(watch, name)
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            raise StartError(failure(stack, name, "failed"))
        marker.write_text(now)

    def _wait(self, watch: ProgressWatch, program: str) -> None:
        try:
            watch.require_progress("it is not healthy")
        except StalledError as error:
            raise StartError(failure(self._stack, program, f"does nothing ({error})")) from None
        if self._given_up.wait(_POLL):
            raise StartError(f"the start of {program} was given up")

    def _in_parallel(self, *tracks: Callable[[], None]) -> None:
        """Run all to their ends; then the first failure, if any, is raised, and others are reported."""
        failures: list[Exception] = []
        with ThreadPoolExecutor(len(tracks)) as pool:
            running = [pool.submit(track) for track in tracks]
            try:
                for track in running:
                    try:
                        track.result()
                    except Exception as error:
                        failures.append(error)
            except KeyboardInterrupt:
                self._given_up.set()
                raise
        for other in failures[1:]:
            self._report(f"besides, {other}")
        if failures:
            raise failures[0]


def programs_at_work(stack: StackSettings, limit: float, *programs: str) -> dict[str, Signal]:
    """The CPU time of programs that are themselves awaited, with ``limit`` seconds to show it."""

    def cpu_seconds(program: str) -> float | None:
        pid = SupervisorClient(stack).pids().get(program)
        return None if pid is None else tree_seconds(pid)

    signals: dict[str, Signal] = {}
    for program in programs:
        signals |= _at_work(program, partial(cpu_seconds, program), limit)
    return signals


def _at_work(program: str, cpu_seconds: Callable[[], float | None], limit: float) -> dict[str, Signal]:
    return {f"the CPU time of {program}": steps(cpu_seconds, limit * _IDLE_SHARE)}


def failure(stack: StackSettings, program: str, how: str) -> str:
    """What a program did, and the end of its log."""
    log = paths.log(stack, program)
    tail = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    return "\n".join([f"{program} {how}; the end of {log}:", *(f"  {line}" for line in tail)])
