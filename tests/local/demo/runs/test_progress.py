"""What a person at the terminal sees, and what is kept of the stages."""

import pytest

from demo.report.record import DemoRecord, Task
from demo.runs.narration import look_line
from demo.runs.progress import Progress, TaskPrinter
from tests.local.demo.records import at


class StageBrokeError(RuntimeError):
    pass


def test_stages_end_as_they_ended_and_unreached_ones_were_skipped() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    with progress.stage("stack", "starting") as say:
        say("one\ntwo")
    progress.skip("history", "nothing to land")
    with pytest.raises(StageBrokeError), progress.stage("incumbent", "deploying"):
        raise StageBrokeError
    states = {stage.name: stage.state for stage in progress.own_stages()}
    assert states == {
        "stack": "success",
        "history": "skipped",
        "ingestion": "skipped",
        "billing": "skipped",
        "incumbent": "failed",
        "history_features": "skipped",
        "hourly_features": "skipped",
    }
    assert [line.split("| ")[1] for line in lines[:3]] == ["starting", "one", "two"]
    assert all(line.startswith("[") and " s] " in line for line in lines)


def test_each_change_of_a_task_is_told_once() -> None:
    lines: list[str] = []
    task_printer = TaskPrinter(lambda task, state: lines.append(f"{task.group}/{task.name} {state}"))

    def seen(*states: str) -> list[Task]:
        names = ("a.first", "b.second")
        return [
            Task(dag_id="d", run_id="r", task_id=name, state=state, started=at(n))
            for n, (name, state) in enumerate(zip(names, states, strict=True))
        ]

    for states in (("none", "none"), ("running", "none"), ("running", "none"), ("success", "awaiting_input")):
        task_printer.print(seen(*states))
    assert lines == ["a/first running", "a/first success", "b/second awaiting input"]


def test_a_look_is_told_with_its_interval_or_without_one(record: DemoRecord) -> None:
    assert record.experiment is not None
    look = record.experiment.looks[1]
    assert look_line(look, "contacts") == "look 2 at 8 h: extend; contacts +40.0% [+0.0%, +90.0%]"
    assert look_line(look, "revenue") == "look 2 at 8 h: extend; revenue no interval yet"
