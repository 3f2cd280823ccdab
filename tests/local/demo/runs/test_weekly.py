"""Following a weekly run: what must happen meanwhile happens once, whatever the run's end."""

import itertools

import pytest

from demo.runs import dag_runs
from demo.runs.dag_runs import DagRun, DagRunClient
from demo.runs.weekly import WeeklyWatch
from stack.stall import ProgressWatch, StalledError
from tests.local.demo.airflow_edge import AirflowEdge, dag_run, task

RUN = DagRun("d", "r 1", "queued", None)
PATH = "/dags/d/dagRuns/r%201"
APPROVAL = "approval.approve_promotion"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dag_runs, "_POLL_SECONDS", 0.001)


def strict(limit: float = 0.5) -> ProgressWatch:
    """Every look at its clock takes a second."""
    seconds = itertools.count()
    return ProgressWatch(limit, {}, lambda: float(next(seconds)))


def watched(*seen: list[dict[str, object]], end: str = "success") -> tuple[WeeklyWatch, list[str]]:
    edge = AirflowEdge().on(PATH, *[dag_run("running")] * (len(seen) - 1), dag_run(end))
    edge.on(f"{PATH}/taskInstances", *({"task_instances": tasks} for tasks in seen))
    lines: list[str] = []
    return WeeklyWatch(DagRunClient(edge), lambda stage, line: lines.append(f"{stage}: {line}")), lines


def test_the_end_is_returned_whatever_it_is() -> None:
    watch, _ = watched([task("gate.judge", "failed")], end="failed")
    run, tasks = watch.follow(RUN, ProgressWatch(10, {}))
    assert (run.state, [t.state for t in tasks]) == ("failed", ["failed"])


def test_a_group_is_told_when_all_of_it_is_over() -> None:
    during = [task("gate.a", "success"), task("gate.b", "running"), task("register.c", None)]
    after = [task("gate.a", "success"), task("gate.b", "success"), task("register.c", "skipped")]
    watch, lines = watched(during, during, after)
    watch.follow(RUN, ProgressWatch(10, {}))
    assert lines == [
        "gate: a: success",
        "gate: b: running",
        "gate: b: success",
        "gate: success",
        "register: skipped",
    ]


def test_an_act_happens_once_in_each_try_of_its_task() -> None:
    waiting = [task(APPROVAL, "awaiting_input")]
    again = [task(APPROVAL, "awaiting_input", try_number=2)]
    watch, _ = watched([task(APPROVAL, "running")], waiting, waiting, [task(APPROVAL, "up_for_retry")], again, again)
    answers: list[str] = []
    watch.when(APPROVAL, ("awaiting_input",), lambda: answers.append("yes"))
    watch.follow(RUN, ProgressWatch(10, {}))
    assert answers == ["yes", "yes"]


def test_what_must_always_hold_ends_the_watch_when_it_does_not() -> None:
    watch, _ = watched([task("ab_test.await_verdict", "deferred")])

    def traffic_died() -> None:
        raise ConnectionError("traffic died")

    watch.always(traffic_died)
    with pytest.raises(ConnectionError, match="traffic died"):
        watch.follow(RUN, ProgressWatch(10, {}))


def test_a_run_that_hangs_is_given_up() -> None:
    tasks = [task("prepare.build_training_set", "deferred")]
    watch, _ = watched(tasks, tasks)
    with pytest.raises(StalledError, match=r"prepare\.build_training_set \(deferred\): no progress for 1 s"):
        watch.follow(RUN, strict())


def test_a_person_may_take_their_time() -> None:
    waiting = [task(APPROVAL, "awaiting_input")]
    watch, _ = watched(*[waiting] * 9, [task(APPROVAL, "success")])
    run, _tasks = watch.follow(RUN, strict(limit=4))
    assert run.state == "success"


def test_a_task_is_at_work_from_its_beginning_to_its_end() -> None:
    states = [None, "deferred", "running", "success"]
    watch, _ = watched(*([task("ab_test.await_verdict", state)] for state in states))
    seen: list[bool] = []
    watch.always(lambda: seen.append(watch.is_at_work("ab_test.await_verdict")))
    watch.follow(RUN, ProgressWatch(10, {}))
    assert seen == [False, True, True, False]
    assert not watch.is_at_work("another.task")
