"""Whoever is paged for a DAG is asked to review it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAGS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))


def reviewers(owners: str) -> dict[str, list[str]]:
    """Pattern -> teams, of every rule of a CODEOWNERS file."""
    rules = [line.split() for line in owners.splitlines() if line and not line.startswith("#")]
    return {pattern: teams for pattern, *teams in rules}


@pytest.mark.parametrize("dag_id", DAGS)
def test_every_dag_has_a_line_of_its_own_that_names_its_owner(dag_id: str, dags: dict[str, object]) -> None:
    teams = reviewers((ROOT / ".github" / "CODEOWNERS").read_text())[f"/dags/{dag_id}.py"]
    owner = dags[dag_id].default_args["owner"]  # type: ignore[attr-defined]
    assert f"@marketplace/{owner}" in teams


def test_a_dag_without_a_line_is_missed() -> None:
    assert "/dags/other.py" not in reviewers("# who\n* @marketplace/data-platform\n/dags/a.py @marketplace/ml-ranking")
