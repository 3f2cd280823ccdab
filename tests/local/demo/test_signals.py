"""Signals move with the system, and stand still when it does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import start_http_server

from adrank.contracts.settings import Settings
from demo import signals
from demo.report.record import Task
from ingestion.archiver.metrics import Metrics
from tests.local.demo.records import T0

END = T0 + timedelta(hours=54)


class Archiver:
    """An archiver's ``/metrics``, and settings that lead to it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._server, _ = start_http_server(0, addr="127.0.0.1", registry=self.metrics.registry)
        where = {"metrics_host": "127.0.0.1", "metrics_port": self._server.server_port}
        events = Settings().events.model_copy(update=where)
        cdc = Settings().cdc.model_copy(update={**where, "metrics_port": 1})
        self.settings = Settings().model_copy(update={"events": events, "cdc": cdc})

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def archiver() -> Any:
    archiver = Archiver()
    yield archiver
    archiver.stop()


def test_landed_messages_move_and_a_program_that_is_away_is_not_known(archiver: Archiver) -> None:
    found = signals.ingestion(archiver.settings)
    before = found["the archiver"]()
    archiver.metrics.landed(10, (), (), None)
    assert before is not None
    assert found["the archiver"]() != before
    assert found["the capture"]() is None


def traffic_at(moment: datetime) -> dict[str, Any]:
    return {"event_now": moment.isoformat()}


def test_the_event_clock_and_closed_hours_move_up_to_the_experiments_last_hour(archiver: Archiver) -> None:
    now = [T0]
    found = signals.experiment(lambda: traffic_at(now[0]), archiver.settings, END, lambda: True)
    clock, hours = found["the traffic's event clock"], found["closed hours"]
    seen = []
    for elapsed in (0, 1, 54, 90):
        now[0] = T0 + timedelta(hours=elapsed)
        archiver.metrics.closed(1, 0, now[0])
        seen.append((clock(), hours()))
    assert len(set(seen[:3])) == 3
    assert seen[3] == seen[2], "beyond its end, time that passes decides nothing"


def test_traffic_says_nothing_while_no_experiment_waits_for_it(archiver: Archiver) -> None:
    archiver.metrics.closed(1, 0, T0)
    found = signals.experiment(lambda: traffic_at(T0), archiver.settings, END, lambda: False)
    assert [signal() for signal in found.values()] == [None, None]


def test_traffic_that_has_not_begun_says_nothing(archiver: Archiver) -> None:
    found = signals.experiment(dict, archiver.settings, END, lambda: True)
    assert found["the traffic's event clock"]() is None


def test_tasks_move_by_state_and_try_but_not_by_their_order() -> None:
    def task(name: str, state: str = "running", number: int = 1) -> Task:
        return Task(dag_id="d", run_id="r", task_id=name, state=state, try_number=number)

    first = signals.states([task("a"), task("b")])
    assert signals.states([task("b"), task("a")]) == first
    assert signals.states([task("a", "success"), task("b")]) != first
    assert signals.states([task("a", number=2), task("b")]) != first
