"""What the demo asks of Airflow's REST API, and what it makes of the answers."""

import contextlib
import itertools
from datetime import UTC, datetime

import pytest

from demo.report.record import Task
from demo.runs import approval, dag_runs
from demo.runs.dag_runs import DagMissingError, DagRun, DagRunClient, Question, RunFailedError, log_lines
from stack.airflow_client import AirflowApiError
from stack.stall import ProgressWatch, StalledError
from tests.local.demo.airflow_edge import AirflowEdge, dag_run, task

RUN = "/dags/d/dagRuns/r%201"
NINE, TEN = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 2, 10, tzinfo=UTC)


def patient() -> ProgressWatch:
    return ProgressWatch(10, {})


def impatient() -> ProgressWatch:
    """Every look at its clock takes a second, and none may pass."""
    seconds = itertools.count()
    return ProgressWatch(0.5, {}, lambda: float(next(seconds)))


def ignore(tasks: list[Task]) -> None:
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dag_runs, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(approval, "READING_SECONDS", 0)


def test_a_run_is_started_without_a_logical_date() -> None:
    edge = AirflowEdge().on("/dags/d/dagRuns", dag_run("queued"))
    assert DagRunClient(edge).trigger("d", "r 1", {"as_of": "x"}) == DagRun("d", "r 1", "queued", None)
    assert edge.sent == [
        ("POST", "/dags/d/dagRuns", {"dag_run_id": "r 1", "logical_date": None, "conf": {"as_of": "x"}})
    ]


def test_a_run_that_was_started_by_an_unanswered_request_is_not_started_again() -> None:
    class StartedEdge(AirflowEdge):
        def request(self, method: str, path: str, body: object = None) -> object:
            if method == "POST":
                raise AirflowApiError(409, "it exists")
            return super().request(method, path, body)

    edge = StartedEdge().on(RUN, dag_run("running"))
    assert DagRunClient(edge).trigger("d", "r 1", {}).state == "running"


def test_waiting_ends_with_the_tasks_of_a_run_that_succeeded() -> None:
    instance = task("a.b", "success", start_date="2026-03-02T10:00:00Z", end_date="2026-03-02T10:00:04.5Z")
    edge = AirflowEdge().on(RUN, dag_run("queued"), dag_run("running"), dag_run("success"))
    edge.on(f"{RUN}/taskInstances", {"task_instances": [instance]})
    (found,) = DagRunClient(edge).wait("d", "r 1", patient(), ignore)
    assert (found.group, found.state, found.started) == ("a", "success", TEN)


def test_a_failed_run_is_told_with_its_tasks_own_last_lines() -> None:
    edge = AirflowEdge().on(RUN, dag_run("failed"))
    instances = [task("a.b", "failed", try_number=3), task("a.c", "upstream_failed"), task("z", None)]
    edge.on(f"{RUN}/taskInstances", {"task_instances": instances})
    log = [{"timestamp": "2026-03-02T10:00:00Z", "event": f"line {n}"} for n in range(100)]
    broken = {"event": "Task failed", "error_detail": [{"exc_type": "JobFailedError", "exc_value": "step s-1 died"}]}
    edge.on(f"{RUN}/taskInstances/a.b/logs/3", {"content": [*log, broken]})
    with pytest.raises(RunFailedError) as error:
        DagRunClient(edge).wait("d", "r 1", patient(), ignore)
    lines = str(error.value).splitlines()
    assert lines[0] == "d r 1 failed: a.b"
    assert lines[-2:] == ["Task failed", "    JobFailedError: step s-1 died"]
    assert len(lines) == 42, "the end of the log only"


def test_a_log_that_cannot_be_read_does_not_hide_the_failure() -> None:
    edge = AirflowEdge().on(RUN, dag_run("failed"))
    edge.on(f"{RUN}/taskInstances", {"task_instances": [task("a.b", "failed")]})
    with pytest.raises(RunFailedError, match=r"failed: a\.b\n.*\nits log cannot be read"):
        DagRunClient(edge).wait("d", "r 1", patient(), ignore)


def test_a_run_that_does_not_get_on_is_told_with_what_it_was_doing() -> None:
    edge = AirflowEdge().on(RUN, dag_run("running"))
    edge.on(f"{RUN}/taskInstances", {"task_instances": [task("a.b", "deferred"), task("a.c", None)]})
    with pytest.raises(StalledError, match=r"d r 1 does not end: a\.b \(deferred\): no progress for"):
        DagRunClient(edge).wait("d", "r 1", impatient(), ignore)


def test_a_run_may_take_any_time_as_long_as_its_tasks_change() -> None:
    edge = AirflowEdge().on(RUN, *[dag_run("running")] * 9, dag_run("success"))
    tries = [{"task_instances": [task("a.b", "running", try_number=n)]} for n in range(9)]
    edge.on(f"{RUN}/taskInstances", *tries)
    seconds = itertools.count()
    watch = ProgressWatch(5, {}, lambda: float(next(seconds)))
    DagRunClient(edge).wait("d", "r 1", watch, ignore)
    assert next(seconds) > 10, "longer than the limit"


def test_hours_are_told_as_they_succeed_and_others_are_left_alone() -> None:
    runs = [("r9", "2026-03-02T09:00:00Z"), ("r10", "2026-03-02T10:00:00Z"), ("r11", "2026-03-02T11:00:00Z")]

    def shown(*states: str) -> dict[str, object]:
        return {"dag_runs": [dag_run(state, *run) for state, run in zip(states, runs, strict=False)]}

    edge = AirflowEdge().on(
        "/dags/d/dagRuns", shown("running"), shown("success"), shown("success", "success", "failed")
    )
    for run_id, _ in runs:
        edge.on(f"/dags/d/dagRuns/{run_id}/taskInstances", {"task_instances": []})
    assert [run.run_id for run in DagRunClient(edge).wait_for_hours("d", [NINE, TEN], patient(), ignore)] == [
        "r9",
        "r10",
    ]


def test_an_hour_that_fails_ends_the_waiting() -> None:
    edge = AirflowEdge().on("/dags/d/dagRuns", {"dag_runs": [dag_run("failed", "r9", "2026-03-02T09:00:00Z")]})
    edge.on("/dags/d/dagRuns/r9/taskInstances", {"task_instances": []})
    with pytest.raises(RunFailedError, match="r9 failed: no single task"):
        list(DagRunClient(edge).wait_for_hours("d", [NINE, TEN], patient(), ignore))


def test_a_dag_that_does_not_parse_is_named_with_its_import_error() -> None:
    edge = AirflowEdge()
    edge.on("/importErrors", {"import_errors": [{"filename": "d.py", "stack_trace": "NameError: x"}]})
    with pytest.raises(DagMissingError, match=r"cannot import d\nd\.py:\nNameError: x"):
        DagRunClient(edge).unpause("d", patient())


def test_a_dag_that_nobody_parses_is_given_up_with_the_errors_of_others() -> None:
    edge = AirflowEdge()
    edge.on("/importErrors", {"import_errors": [{"filename": "e.py", "stack_trace": "NameError: x"}]})
    with pytest.raises(DagMissingError, match=r"does not know d: no progress for .*\ne\.py:\nNameError: x"):
        DagRunClient(edge).unpause("d", impatient())


def test_what_a_task_did_not_return_is_nothing() -> None:
    edge = AirflowEdge().on(f"{RUN}/taskInstances/a.b/xcomEntries/return_value", {"value": {"x": 1}})
    assert DagRunClient(edge).returned("d", "r 1", "a.b") == {"x": 1}
    assert DagRunClient(edge).returned("d", "r 1", "a.c") is None


def test_a_question_and_its_answer_are_read() -> None:
    open_question = {
        "subject": "s",
        "body": "b",
        "chosen_options": None,
        "responded_by_user": None,
        "responded_at": None,
    }
    answered = {
        **open_question,
        "chosen_options": ["Approve"],
        "responded_by_user": {"id": "pm", "name": "pm"},
        "responded_at": "2026-03-02T10:00:00Z",
    }
    edge = AirflowEdge().on(f"{RUN}/taskInstances/ask/-1/hitlDetails", open_question, answered)
    airflow = DagRunClient(edge)
    assert airflow.question("d", "r 1", "ask") == Question("s", "b", (), None, None)
    assert airflow.question("d", "r 1", "ask") == Question("s", "b", ("Approve",), "pm", TEN)
    assert airflow.question("d", "r 1", "other") is None


@pytest.mark.parametrize(
    ("body", "chosen"),
    [("package p1 report r1", "Approve"), ("package p1", "Reject"), ("package p2 report r1", "Reject"), ("", "Reject")],
)
def test_the_simulated_manager_approves_only_what_names_this_package_and_report(body: str, chosen: str) -> None:
    question = {"subject": "s", "body": body, "chosen_options": []}
    edge = AirflowEdge().on(f"{RUN}/taskInstances/ask/-1/hitlDetails", question)
    evidence = {"package_digest": "p1", "report_digest": "r1"}
    assert approval.answer(DagRunClient(edge), DagRun("d", "r 1", "running", None), "ask", evidence) == chosen
    answer = {"chosen_options": [chosen], "params_input": {}}
    assert edge.sent == [("PATCH", f"{RUN}/taskInstances/ask/-1/hitlDetails", answer)]


def test_evidence_without_digests_is_never_approved() -> None:
    assert approval.decide(Question("s", "anything", (), None, None), {}) == "Reject"


class AnsweredEdge(AirflowEdge):
    """Somebody was quicker."""

    def request(self, method: str, path: str, body: object = None) -> object:
        if method == "PATCH":
            raise AirflowApiError(409, "it is answered")
        return super().request(method, path, body)


@pytest.mark.parametrize(("stands", "refused"), [("Approve", False), ("Reject", True)])
def test_an_answer_that_was_given_may_be_given_again_but_not_another(stands: str, refused: bool) -> None:
    question = {"subject": "s", "body": "b", "chosen_options": [stands]}
    edge = AnsweredEdge().on(f"{RUN}/taskInstances/ask/-1/hitlDetails", question)
    with pytest.raises(AirflowApiError) if refused else contextlib.nullcontext():
        DagRunClient(edge).answer("d", "r 1", "ask", "Approve")


def test_a_log_message_is_text_whatever_its_form() -> None:
    assert list(log_lines("plain")) == ["plain"]
    assert list(log_lines({"event": "e", "timestamp": "2026-03-02T10:00:00.123Z"})) == ["2026-03-02T10:00:00 e"]
