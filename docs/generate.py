"""Writes what is derived from the DAGs: ``docs/DAGS.md`` and the graph snapshots under ``tests/dags/snapshots/``.

``make docs`` runs it; a test fails when what is committed differs from what it would write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "docs" / "DAGS.md"
SNAPSHOTS = ROOT / "tests" / "dags" / "snapshots"


def load_dags() -> dict[str, Any]:
    """Every DAG of the repository, by id."""
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    if bag.import_errors:
        raise SystemExit("\n".join(f"{path}: {error}" for path, error in bag.import_errors.items()))
    return dict(sorted(bag.dags.items()))


def schedule_of(dag: Any) -> str:
    """The schedule as a person reads it."""
    expression = getattr(dag.timetable, "expression", None) or getattr(dag.timetable, "_expression", None)
    return f"`{expression}` UTC, data interval" if expression else "by hand"


def task_line(task: Any) -> str:
    """One line that changes whenever the wiring of the task changes."""
    rule = task.trigger_rule.value
    notes = [] if rule == "all_success" else [f"when={rule}"]
    notes += [name for name in ("is_setup", "is_teardown") if getattr(task, name)]
    notes += [f"pool={task.pool}"] if task.pool != "default_pool" else []
    after = ", ".join(sorted(task.upstream_task_ids)) or "-"
    return f"{task.task_id}  [{type(task).__name__}{'; ' + ', '.join(notes) if notes else ''}]  after: {after}"


def snapshot(dag: Any) -> str:
    """The DAG's whole wiring, one task a line, in topological order."""
    return "\n".join(task_line(task) for task in dag.topological_sort()) + "\n"


def catalogue(dags: dict[str, Any]) -> str:
    """The DAG catalogue."""
    parts = ["# DAGs\n\nGenerated from the DAG files by `make docs`; a test holds it to them.\n"]
    parts += ["| DAG | schedule | owner | tags |\n|---|---|---|---|"]
    for dag_id, dag in dags.items():
        tags = ", ".join(f"`{tag}`" for tag in sorted(dag.tags))
        parts.append(f"| [{dag_id}](#{dag_id}) | {schedule_of(dag)} | {dag.default_args['owner']} | {tags} |")
    for dag_id, dag in dags.items():
        parts.append(f"\n## {dag_id}\n\n{dag.doc_md.strip()}\n\n```text\n{snapshot(dag)}```")
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write catalogue and snapshots."""
    dags = load_dags()
    CATALOGUE.write_text(catalogue(dags), encoding="utf-8")
    SNAPSHOTS.mkdir(parents=True, exist_ok=True)
    for stale in {path.stem for path in SNAPSHOTS.glob("*.txt")} - dags.keys():
        (SNAPSHOTS / f"{stale}.txt").unlink()
    for dag_id, dag in dags.items():
        (SNAPSHOTS / f"{dag_id}.txt").write_text(snapshot(dag), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "plugins"))
    main()
