"""The demo's stages, in order: each drives the system through public APIs only and keeps what the report needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3

from adrank.contracts import lake, timestamps
from adrank.contracts.settings import Settings
from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from demo import incumbent, lake_counts, signals, traffic_process
from demo.report.cpu_log import CpuLog
from demo.report.record import DemoRecord, Features, Stage, Task, WeeklyResults
from demo.report.task_times import TaskTimes
from demo.runs import approval, weekly
from demo.runs.dag_runs import DagRun, DagRunClient
from demo.runs.narration import DecisionPrinter
from demo.runs.progress import Progress, TaskPrinter
from demo.runs.results import Collector, registry_client
from demo.runs.weekly import WeeklyWatch
from demo.sources import HistorySource
from demo.traffic_process import TrafficProcess
from ingestion.landing import changes
from simulator.sinks.event_sink import streaming_sink
from stack import lifecycle, paths
from stack.airflow_client import AirflowClient
from stack.environment import process_environment, url
from stack.process_cpu import StackCpu
from stack.settings import StackSettings
from stack.stall import ProgressWatch, Signal
from stack.start_up import programs_at_work
from stack.supervisor.client import SupervisorClient

BILLING: Final = "ranking_billing_nightly"
BACKFILL: Final = "ranking_backfill"
HOURLY: Final = "ranking_features_hourly"
_DAGS: Final = {"billing": BILLING, "history_features": BACKFILL, "hourly_features": HOURLY}
#: Seconds without any progress until a stage has failed.
STALL_SECONDS: Final = 300
#: How long Airflow may be silent when it is looked at for the last time, after something else has failed.
_LAST_LOOK_SECONDS: Final = 5
#: What an experiment may need beyond its last date, in event time: labels mature, hours are closed.
_SETTLING: Final = timedelta(hours=6)


@dataclass(frozen=True)
class Options:
    """How this demo is run."""

    home: Path
    stack: StackSettings
    ask: bool
    stall_seconds: float = STALL_SECONDS


class Demo:
    """One demo. :meth:`run` goes through the stages; :meth:`record` tells how far they came, at any time."""

    def __init__(self, options: Options, source: HistorySource, progress: Progress) -> None:
        self._options = options
        self._source = source
        self._plan = source.plan()
        self._progress = progress
        self._began = datetime.now(UTC)
        self._tasks: list[Task] = []
        self._weekly_tasks: list[Task] = []
        self._features: Features | None = None
        self._results = WeeklyResults()
        self._traffic: TrafficProcess | None = None
        self._environment: Mapping[str, str] = {}
        self._cpu = StackCpu(options.stack, also=os.getpid())
        self._cpu_log = CpuLog(lambda: self._cpu.read().total)
        self._times = TaskTimes()

    def run(self) -> None:
        """All stages; raises what the first failing one raised. The stack is left running, traffic is not."""
        self._cpu_log.start()
        try:
            self._stack()
            self._history()
            self._ingestion()
            self._billing()
            self._incumbent()
            self._history_features()
            self._hourly_features()
            self._weekly()
        finally:
            if self._traffic is not None:
                self._traffic.stop()
            self._cpu_log.stop()

    def record(self, failure: str = "", addresses: str = "") -> DemoRecord:
        """Everything seen so far."""
        state = self._traffic.state() if self._traffic else {}
        return DemoRecord(
            **dict(self._results),
            source=self._plan,
            began=self._began,
            ended=datetime.now(UTC),
            stages=tuple(map(self._measured, (*self._progress.own_stages(), *weekly.stages_of(self._weekly_tasks)))),
            tasks=(*self._tasks, *self._weekly_tasks),
            features=self._features,
            traffic=traffic_process.seconds(state),
            traffic_totals=traffic_process.totals(state),
            failure=failure,
            addresses=addresses,
        )

    def _measured(self, stage: Stage) -> Stage:
        """The stage with what it burnt and which of its tasks it waited for."""
        if stage.started is None or stage.ended is None:
            return stage
        tasks = [task for task in self._tasks if task.dag_id == _DAGS.get(stage.name)]
        tasks += [task for task in self._weekly_tasks if task.group == stage.name]
        cpu_seconds = self._cpu_log.between(stage.started, stage.ended)
        return stage.model_copy(update={"cpu_seconds": cpu_seconds, "waited_for": self._times.longest(tasks)})

    def _stack(self) -> None:
        with self._progress.stage("stack", "starting the servers of the embedded stack") as say:
            lifecycle.start(self._options.stack, say)
            self._environment = process_environment(self._options.stack)
            # From here on this process is one of the stack's: AWS clients and settings read the environment.
            os.environ.clear()
            os.environ.update(self._environment)
            self._settings = Settings()
            self._store = ObjectStore.connect(self._settings.lake.bucket, region=self._settings.region)
            self._airflow = self._airflow_as("admin")

    def _history(self) -> None:
        with self._progress.stage("history", f"landing {self._plan.text}") as say:
            say(self._source.land(self._store))

    def _ingestion(self) -> None:
        """The last hours come the way that all hours come in production; the archiver and the capture close them."""
        plan = self._plan
        with self._progress.stage("ingestion", "event log and database -> raw hours") as say:
            with streaming_sink(self._settings) as sink:
                say(f"streamed: {self._source.stream(sink)}")
            last = plan.end - HOUR
            keys = (lake.RAW_EVENTS.manifest(last), *(lake.RAW_CDC(table).manifest(last) for table in changes.TABLES))
            lake_counts.wait_for_raw_hours(self._store, keys, self._watch(signals.ingestion(self._settings)))
            counts = lake_counts.describe_raw_hours(self._store, plan.hourly_start, plan.end)
            say(f"closed up to {plan.end:%Y-%m-%d %H:%M}: {counts}")

    def _billing(self) -> None:
        day = self._source.bill(self._store, self._settings.billing)
        if day is None:
            self._progress.skip("billing", "billed amounts, where there are any, were imported with the log")
            return
        with self._progress.stage("billing", f"{BILLING}: the export of {day:%Y-%m-%d}") as say:
            self._run_dag(BILLING, f"demo-billing-{day:%Y%m%d}", {"day": f"{day:%Y-%m-%d}"}, say)

    def _incumbent(self) -> None:
        with self._progress.stage("incumbent", "putting the fixed-slot ranker into production as version 1") as say:
            registry = registry_client(self._settings)
            placed = incumbent.install(self._settings, self._store, self._client("sagemaker"), registry, self._watch())
            say(f"version {placed.version}, package {placed.package_digest[:12]}, serves on {placed.endpoint_config}")

    def _history_features(self) -> None:
        plan = self._plan
        if plan.hourly_start == plan.start:
            self._progress.skip("history_features", "all of history goes through the hourly DAG")
            return
        hours = (plan.hourly_start - plan.start) // HOUR
        with self._progress.stage("history_features", f"{BACKFILL}: {hours} hours, one range step per group") as say:
            conf = {"start": plan.start.isoformat(), "end": plan.hourly_start.isoformat()}
            self._run_dag(BACKFILL, f"demo-history-{lake.run_key(plan.end)}", conf, say)

    def _hourly_features(self) -> None:
        expected = set(timestamps.hours(self._plan.hourly_start, self._plan.end))
        with self._progress.stage("hourly_features", f"{HOURLY}: the last {len(expected)} hours, as scheduled") as say:
            self._unpause(HOURLY)
            with self._closing(lambda airflow: self._close_hours(airflow, expected)):
                for run in self._airflow.wait_for_hours(HOURLY, expected, self._watch(), self._times.look):
                    say(f"{run.logical_date:%Y-%m-%d %H:%M} {run.state}")
            self._features = lake_counts.count_features(self._settings, self._store, self._client("dynamodb"))
            say(f"{self._features.offline_rows:,} rows of {self._features.hours} hours offline")

    def _close_hours(self, airflow: DagRunClient, expected: set[datetime]) -> None:
        airflow.pause(HOURLY)
        for run in airflow.runs(HOURLY):
            if run.logical_date in expected:
                self._tasks += airflow.tasks(run.dag_id, run.run_id)

    def _weekly(self) -> None:
        airflow, plan = self._airflow, self._plan
        self._unpause(weekly.DAG_ID)
        run_id = f"demo-{lake.run_key(plan.end)}"
        run = airflow.trigger(weekly.DAG_ID, run_id, {"as_of": plan.end.isoformat()})
        self._progress.say("prepare", f"{weekly.DAG_ID} as of {plan.end:%Y-%m-%d %H:%M} UTC, run {run_id}")
        collector = self._collector(airflow, run)
        traffic = self._live_traffic()
        metric = self._settings.experiment.primary_metric
        decisions = DecisionPrinter(collector, metric, self._progress.say, lambda: traffic.state().get("requests", 0))
        watch = WeeklyWatch(airflow, self._progress.say, self._times.look)
        watch.when("train.train_model", ("success",), decisions.training)
        watch.when("gate.judge_candidate", ("success",), decisions.gate)
        watch.when(weekly.START_ROUTING, ("success",), self._start_traffic)
        watch.when(weekly.START_ROUTING, ("success",), lambda: watch.always(decisions.next_look))
        watch.when(weekly.APPROVE_PROMOTION, ("awaiting_input",), lambda: self._approve(run, collector))
        watch.always(traffic.require_alive)
        last = plan.end + self._settings.experiment.max_duration + _SETTLING
        experiment = signals.experiment(
            traffic.state, self._settings, last, is_running=lambda: watch.is_at_work(weekly.AWAIT_VERDICT)
        )
        with self._closing(lambda airflow: self._close_weekly(airflow, run)):
            ended, self._weekly_tasks = watch.follow(run, self._watch(experiment))
        airflow.require_success(ended)

    def _close_weekly(self, airflow: DagRunClient, run: DagRun) -> None:
        self._weekly_tasks = airflow.tasks(run.dag_id, run.run_id)
        self._results = self._collector(airflow, run).everything(self._weekly_tasks)

    def _collector(self, airflow: DagRunClient, run: DagRun) -> Collector:
        return Collector(self._settings, airflow, run, self._store, registry_client(self._settings))

    def _live_traffic(self) -> TrafficProcess:
        directory = self._options.home / "traffic"
        words = traffic_process.command(self._plan, self._source.data, traffic_process.state_file(directory))
        self._traffic = TrafficProcess(words, directory, self._environment, self._options.stack.home)
        return self._traffic

    def _start_traffic(self) -> None:
        assert self._traffic is not None
        self._traffic.start()
        self._progress.say(
            "ab_test",
            f"live traffic: {traffic_process.SEARCHES_PER_DAY:,} searches a day, "
            f"event time runs up to {traffic_process.SPEED} times as fast as the wall's",
        )

    def _approve(self, run: DagRun, collector: Collector) -> None:
        stack = self._options.stack
        if self._options.ask:
            where = approval.address(url(stack, "airflow"), run, weekly.APPROVE_PROMOTION)
            self._progress.say("approval", f"waiting for {approval.APPROVER} to answer at {where}")
            self._progress.say("approval", f"the password is in {paths.airflow_passwords(stack)}")
            return
        manager = self._airflow_as(approval.APPROVER)
        evidence = collector.returned("approval.collect_evidence") or {}
        option = approval.answer(manager, run, weekly.APPROVE_PROMOTION, evidence)
        self._progress.say("approval", f"{approval.APPROVER} (simulated) has read the evidence: {option}")

    def _run_dag(self, dag_id: str, run_id: str, conf: dict[str, str], say: Callable[[str], None]) -> None:
        """Run a DAG once, to its successful end."""
        self._unpause(dag_id)
        run = self._airflow.trigger(dag_id, run_id, conf)
        task_printer = TaskPrinter(lambda task, state: say(f"{task.task_id}: {state}"))

        def look(tasks: list[Task]) -> None:
            task_printer.print(tasks)
            self._times.look(tasks)

        def keep_tasks(airflow: DagRunClient) -> None:
            self._tasks += airflow.tasks(dag_id, run_id)

        with self._closing(keep_tasks):
            self._airflow.wait(dag_id, run.run_id, self._watch(), look)

    def _unpause(self, dag_id: str) -> None:
        parser = programs_at_work(self._options.stack, self._options.stall_seconds, "airflow-dag-processor")
        self._airflow.unpause(dag_id, self._watch(parser))

    @contextmanager
    def _closing(self, close: Callable[[DagRunClient], None]) -> Iterator[None]:
        """Do what is due in the end; after a failure as far as that is quickly done, for the report."""
        try:
            yield
        except BaseException:
            try:
                close(self._airflow_as("admin", _LAST_LOOK_SECONDS))
            except Exception as error:  # the failure is what counts
                lost = f"the report lacks what could not be read any more: {type(error).__name__}: {error}"
                self._progress.say(self._progress.current, lost)
            raise
        close(self._airflow)

    def _watch(self, more: Mapping[str, Signal] | None = None) -> ProgressWatch:
        limit = self._options.stall_seconds
        return ProgressWatch(limit, {**signals.work(self._cpu, limit), **(more or {})})

    def _airflow_as(self, user: str, max_silence: float | None = None) -> DagRunClient:
        stack = self._options.stack
        return DagRunClient(
            AirflowClient(stack, user),
            max_silence or self._options.stall_seconds,
            SupervisorClient(stack).require_running,
        )

    def _client(self, service: str) -> Any:
        return boto3.client(service, region_name=self._settings.region)
