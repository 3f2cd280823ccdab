"""A DAG's wiring as sets of names, and what could run in it."""

from __future__ import annotations

from typing import Any

Graph = dict[str, tuple[str, frozenset[str]]]


def can_run(graph: Graph, never: set[str]) -> set[str]:
    """Tasks that could run in some run of the graph in which the tasks ``never`` do not succeed.

    Under ``all_success`` a task needs all of its upstream tasks; under any other rule one is taken to be enough.
    """
    possible: set[str] = set()
    while True:
        more = {
            task
            for task, (rule, upstream) in graph.items()
            if task not in never | possible
            and (not upstream or (upstream <= possible if rule == "all_success" else bool(upstream & possible)))
        }
        if not more:
            return possible
        possible |= more


def graph(dag: Any) -> Graph:
    return {task.task_id: (task.trigger_rule.value, frozenset(task.upstream_task_ids)) for task in dag.tasks}
