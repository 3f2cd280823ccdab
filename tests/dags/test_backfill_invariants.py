"""What must hold of the backfill's graph: either engine does all the work, unchecked features never go online."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import DownstreamTasksSkipped
from airflow.sdk.execution_time import macros

from adrank.contracts import registry
from adrank.contracts.entry_points.features import CheckWindows, ComputeFeatures
from adrank_airflow.operators.jobs import spark_command
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator
from tests.dags.graphs import can_run, graph

GROUPS = [group.name for group in registry.load().groups]
STORES = ("redis", "dynamodb")
ENGINES = {"emr": "emr", "spark-submit": "spark_submit"}
COMPUTE = {engine: {f"{engine}.compute"} for engine in ENGINES.values()}
PUSH = {engine: {f"{engine}.push.{store}" for store in STORES} for engine in ENGINES.values()}


@pytest.fixture(scope="session")
def backfill(dags: dict[str, Any]) -> Any:
    return dags["ranking_backfill"]


def test_both_engines_do_the_same_work(backfill: Any) -> None:
    emr, submit = (backfill.get_task(f"{engine}.compute") for engine in ENGINES.values())
    assert submit.operator_class.__name__ == "SparkSubmitStepOperator"
    kept = ("entry_point", "values")
    assert {k: emr.partial_kwargs[k] for k in kept} == {k: submit.partial_kwargs[k] for k in kept}
    assert emr.partial_kwargs["entry_point"] is ComputeFeatures
    for name in ("validate", *(f"push.{store}" for store in STORES)):
        emr, submit = (backfill.get_task(f"{engine}.{name}") for engine in ENGINES.values())
        assert submit.application == spark_command.entry_point_uri(emr.settings.lake, emr.entry_point)
        assert (submit.arguments, submit.entry_point) == (emr.arguments, emr.entry_point)
        assert (submit.trigger_rule, submit.pool) == (emr.trigger_rule, emr.pool)


def test_spark_submit_does_without_emr(backfill: Any) -> None:
    tasks = [task for task in backfill.tasks if task.task_id.startswith("spark_submit.")]
    operators = [getattr(task, "operator_class", type(task)) for task in tasks]
    assert len(operators) == 2 + len(STORES)
    assert all(issubclass(operator, SparkSubmitStepOperator) for operator in operators)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_form_chooses_one_engine_whole(backfill: Any, engine: str) -> None:
    branch = backfill.get_task("choose_engine")
    assert set(branch.branches) == set(backfill.params.get_param("engine").schema["enum"]) == set(ENGINES)
    context = {"ti": SimpleNamespace(task=branch, map_index=-1, xcom_push=lambda **_: None)}
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        branch.do_branch(context, branch.branches[engine])
    (other,) = set(ENGINES.values()) - {ENGINES[engine]}
    # The other's validation would run when all before it is skipped, were it not skipped itself; its pushes follow it.
    assert {task_id for task_id, _ in skipped.value.tasks} == COMPUTE[other] | {f"{other}.validate"}


@pytest.mark.parametrize("engine", ENGINES.values())
def test_chunks_are_computed_one_at_a_time_in_the_clusters_pool(backfill: Any, engine: str) -> None:
    task = backfill.get_task(f"{engine}.compute")
    assert task.max_active_tis_per_dagrun == 1
    assert task.pool == "adrank_emr"
    assert task.upstream_task_ids == {"choose_engine", "plan"}


@pytest.mark.parametrize(("recompute", "flag"), [(True, "true"), (False, "false")])
def test_the_form_says_whether_what_is_whole_is_computed_again(backfill: Any, recompute: bool, flag: str) -> None:
    task = backfill.get_task("emr.compute")
    words = backfill.get_task("emr.validate").render_template(
        ComputeFeatures.command_line(**task.partial_kwargs["values"]), {"params": {"recompute": recompute}}
    )
    assert words[:2] == ["--recompute", flag]


@pytest.mark.parametrize("engine", ENGINES.values())
def test_what_was_whole_holds_nothing_up_but_a_failure_does(backfill: Any, engine: str) -> None:
    rule, upstream = graph(backfill)[f"{engine}.validate"]
    assert rule == "none_failed"
    assert upstream == COMPUTE[engine] | {"choose_engine"}


@pytest.mark.parametrize("engine", ENGINES.values())
def test_nothing_goes_online_without_validation(backfill: Any, engine: str) -> None:
    (other,) = set(ENGINES.values()) - {engine}
    not_chosen = COMPUTE[other] | {f"{other}.validate"}
    assert can_run(graph(backfill), never=not_chosen) & (PUSH[engine] | PUSH[other]) == PUSH[engine]
    assert not can_run(graph(backfill), never={f"{engine}.validate"}) & PUSH[engine]


@pytest.mark.parametrize("engine", ENGINES.values())
@pytest.mark.parametrize("end", ["2026-03-02T00:00:00+00:00", "2026-03-02T00:30:00Z", "2026-03-02T06:15:59+05:30"])
def test_check_and_push_end_with_the_last_whole_hour_however_the_form_puts_it(
    backfill: Any, engine: str, end: str
) -> None:
    def rendered(task_id: str) -> list[str]:
        task = backfill.get_task(task_id)
        context = {"params": {"start": "2026-03-01T00:00:00+00:00", "end": end}, "macros": macros, "run_id": "r"}
        found: list[str] = task.render_template(task.arguments, context)
        return found

    for store in STORES:
        pushed = rendered(f"{engine}.push.{store}")
        assert pushed[pushed.index("--hour") + 1] == "2026-03-01T23:00:00+00:00"
    checked = rendered(f"{engine}.validate")
    assert checked[checked.index("--end") + 1] == "2026-03-02T00:00:00+00:00"


def test_the_form_needs_a_range_and_nothing_else(backfill: Any) -> None:
    params = {name: backfill.params.get_param(name) for name in backfill.params}
    assert {name for name, param in params.items() if not param.has_value} == {"start", "end"}
    assert backfill.params["groups"] == GROUPS


@pytest.fixture(scope="session")
def nightly(dags: dict[str, Any]) -> Any:
    return dags["ranking_features_nightly"]


def test_every_group_that_counts_is_proved_every_night_by_what_it_counts(nightly: Any) -> None:
    counting = {group.name for group in registry.load().groups if group.aggregation}
    checks = {task.task_id: task for task in nightly.tasks if task.task_id.startswith("check.")}
    assert set(checks) == {f"check.{name}" for name in counting}
    assert {task.arguments[1] for task in checks.values()} == counting
    assert all("--queries" in task.arguments for task in checks.values())
    assert {task.entry_point for task in checks.values()} == {CheckWindows}
    assert set(nightly.task_dict) == {"wait_for_windows", *checks}
