"""Writes what is derived: ``docs/FEATURES.md`` from the feature registry; from the DAGs ``docs/DAGS.md`` and the graph
snapshots under ``tests/dags/snapshots/``.

``make docs`` runs it; a test fails when what is committed differs from what it would write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from adrank.contracts import registry
from adrank.contracts.drift_monitors import DriftMonitor, monitors
from adrank.contracts.registry import Feature, FeatureGroup, Registry
from expectations.feature_suite import relations

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "docs" / "DAGS.md"
FEATURES = ROOT / "docs" / "FEATURES.md"
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
    # A mapped task has its operator's class beside it, and an instance for each item only when it runs.
    operator = getattr(task, "operator_class", type(task))
    notes = [] if rule == "all_success" else [f"when={rule}"]
    notes += ["mapped"] if operator is not type(task) else []
    notes += [name for name in ("is_setup", "is_teardown") if getattr(task, name)]
    notes += [f"pool={task.pool}"] if task.pool != "default_pool" else []
    after = ", ".join(sorted(task.upstream_task_ids)) or "-"
    return f"{task.task_id}  [{operator.__name__}{'; ' + ', '.join(notes) if notes else ''}]  after: {after}"


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


def features(registered: Registry) -> str:
    """The feature catalogue."""
    drift = {monitor.feature: monitor for monitor in monitors(registered)}
    parts = [
        "# Features\n\nGenerated from `include/adrank/contracts/features.yaml` by `make docs`; a test holds it to it.\n"
        "\nThis is also the order of the serving vector. A feature is an entry there and an expression in\n"
        "`include/sql/features/<group>.sql`; everything else follows.\n",
        "| group | entity | features | store | every | seen after | kept for | owner |",
        f"|{'---|' * 8}",
    ]
    for group in registered.groups:
        cells = (
            f"[{group.name}](#{group.name})",
            *(group.entity, len(group.features), group.store),
            *(f"{group.cadence_minutes} min", f"{group.lag_minutes} min", f"{group.ttl_hours} h", group.owner),
        )
        parts.append(f"| {' | '.join(map(str, cells))} |")
    parts += [_group(group, drift) for group in registered.groups]
    return "\n".join(parts) + "\n"


def _group(group: FeatureGroup, drift: dict[str, DriftMonitor]) -> str:
    parts = [f"\n## {group.name}\n\n{group.description} Computed from: {', '.join(group.inputs)}."]
    if group.aggregation:
        windows = ", ".join(f"{name} ({hours} h)" for name, hours in group.aggregation.windows.items())
        parts.append(f"Counted hour by hour: {', '.join(group.aggregation.measures)}; windows: {windows}.")
    if related := relations(group):
        parts.append("Beyond the ranges, no negative " + ", ".join(f"`{relation.name}`" for relation in related) + ".")
    parts += ["\n| feature | range | without a row | known before the impression | drift bins | |", f"|{'---|' * 6}"]
    parts += [_feature(feature, drift[feature.name]) for feature in group.features]
    return "\n".join(parts)


def _feature(feature: Feature, drift: DriftMonitor) -> str:
    low, high = feature.range
    cells = (
        f"`{feature.name}`",
        f"{low:g} … {high:g}" + (f", {feature.mostly:.0%}" if feature.mostly < 1 else ""),
        "missing" if feature.default is None else f"{feature.default:g}",
        "yes" if feature.known_before_impression else "no",
        f"{len(drift.edges) + 1}" + (" and missing" if drift.missing else ""),
        feature.description,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write catalogues and snapshots."""
    FEATURES.write_text(features(registry.load()), encoding="utf-8")
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
