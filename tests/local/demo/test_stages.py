"""What a stage does when it fails."""

from __future__ import annotations

import pytest

from demo.runs.dag_runs import DagRunClient, RunFailedError
from demo.runs.progress import Progress
from demo.stages import Demo
from tests.local.demo.airflow_edge import AirflowEdge


def test_what_the_report_will_lack_is_said_and_the_failure_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    demo = object.__new__(Demo)
    demo._progress = Progress(lines.append)
    monkeypatch.setattr(demo, "_airflow_as", lambda *_: DagRunClient(AirflowEdge()), raising=False)
    demo._progress.say("billing", "the export")
    with pytest.raises(RunFailedError, match="land_export"), demo._closing(lambda airflow: airflow.runs("d") and None):
        raise RunFailedError("failed: land_export")
    assert "billing" in lines[-1]
    assert "the report lacks what could not be read any more: AirflowApiError: /dags/d/dagRuns" in lines[-1]
