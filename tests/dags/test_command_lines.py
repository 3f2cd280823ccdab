"""Every program that the DAGs start understands the command line that it gets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.settings import Settings
from adrank_airflow.operators.jobs import spark_command

START, END = "2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"
#: What templates render to, by flag; a time is text, too.
RENDERED = {"--recompute": "false", "--end": END}
HOURS = {"start": START, "end": END, "groups": ["ad_engagement", "seller_stats"]}


def started(dags: dict[str, Any]) -> dict[str, tuple[type[EntryPointArguments], list[str]]]:
    """Task -> its program and command line."""
    found = {}
    for dag in dags.values():
        for task in dag.tasks:
            given = getattr(task, "partial_kwargs", None) or vars(task)
            program = given.get("entry_point")
            if program is None:
                continue
            words, hours = given.get("arguments"), None
            if words is None:
                words, hours = program.command_line(**given["values"], **program.from_settings(Settings())), HOURS
            rendered = [RENDERED.get(flag, START) if "{{" in word else word for flag, word in pairwise(["", *words])]
            found[f"{dag.dag_id}.{task.task_id}"] = (
                program,
                [*rendered, *spark_command.range_arguments(program, hours, "a step")],
            )
    return found


def test_every_command_line_is_understood(dags: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    programs = started(dags)
    assert len(programs) > 10, "the walk no longer finds the programs"
    for task, (program, words) in programs.items():
        try:
            program.parse(words)
        except SystemExit:
            pytest.fail(f"{task}: {capsys.readouterr().err}")
