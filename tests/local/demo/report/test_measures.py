"""What stages cost: CPU time between two moments, and how long their tasks were in which state."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from demo.report.cpu_log import CpuLog
from demo.report.record import Task
from demo.report.task_times import TaskTimes


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def logged(*readings: tuple[float, float]) -> CpuLog:
    """A log of (moment, CPU seconds)."""
    times, seconds = (iter(column) for column in zip(*readings, strict=True))
    log = CpuLog(lambda: next(seconds), lambda: next(times))
    for _ in readings:
        log.sample()
    return log


@pytest.mark.parametrize(
    ("start", "end", "burnt"),
    [(100, 110, 20), (100, 105, 10), (101, 106, 10), (110, 120, 0), (115, 120, 0), (90, 200, 20), (90, 95, 0)],
)
def test_cpu_time_is_that_of_the_span_between_two_moments(start: float, end: float, burnt: float) -> None:
    log = logged((100, 1000), (110, 1020), (120, 1020))
    assert log.between(moment(start), moment(end)) == pytest.approx(burnt)


def test_a_process_that_takes_its_time_along_takes_none_from_the_others() -> None:
    log = logged((100, 50), (110, 60), (120, 30), (130, 45))
    assert log.between(moment(100), moment(130)) == 25


def test_a_log_without_readings_knows_of_nothing() -> None:
    assert CpuLog(lambda: 1.0).between(moment(0), moment(9)) == 0


def test_it_reads_from_start_to_stop() -> None:
    reads = threading.Semaphore(0)

    def read() -> float:
        reads.release()
        return 1.0

    log = CpuLog(read)
    log.stop()
    log.start()
    assert reads.acquire(timeout=10)
    log.stop()
    assert reads.acquire(timeout=0), "the last moment is read, too"


def task(name: str, state: str, run_id: str = "r", map_index: int = -1) -> Task:
    return Task(dag_id="d", run_id=run_id, task_id=name, state=state, map_index=map_index)


class Looks:
    """Task times with a clock that says when the next look is taken."""

    def __init__(self) -> None:
        self.now = 0.0
        self.times = TaskTimes(lambda: self.now)

    def at(self, seconds: float, *tasks: Task) -> None:
        self.now = seconds
        self.times.look(tasks)


def test_a_task_was_in_the_state_in_which_it_was_found() -> None:
    looks = Looks()
    for seconds, state in (
        (0, "none"),
        (2, "queued"),
        (5, "running"),
        (6, "deferred"),
        (16, "running"),
        (17, "success"),
    ):
        looks.at(seconds, task("a", state))
    looks.at(99, task("a", "success"))
    assert looks.times.longest([task("a", "success")]) == {"a": {"queued": 3, "running": 2, "deferred": 10}}


def test_only_the_longest_are_named_the_longest_first() -> None:
    looks = Looks()
    names = ("short", "long", "longer", "longest", "never ran")
    looks.at(0, *(task(name, "running") for name in names[:4]), task("never ran", "skipped"))
    for seconds, name in ((1, "short"), (2, "long"), (3, "longer"), (4, "longest")):
        looks.at(seconds, task(name, "success"))
    assert list(looks.times.longest([task(name, "success") for name in names])) == ["longest", "longer", "long"]
    assert looks.times.longest([task("never ran", "skipped"), task("unseen", "success")]) == {}


def test_instances_of_a_mapped_task_are_told_apart_and_runs_are_added() -> None:
    looks = Looks()
    tasks = [task("m", "running", "r1", 0), task("m", "running", "r1", 1), task("m", "running", "r2", 0)]
    looks.at(0, *tasks)
    looks.at(5, *(each.model_copy(update={"state": "success"}) for each in tasks))
    assert looks.times.longest(tasks) == {"m[0]": {"running": 10}, "m[1]": {"running": 5}}
