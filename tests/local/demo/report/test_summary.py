"""summary.json has the structure that scripts rely on, and nulls where a stage was skipped."""

import json
from typing import Any

import pytest

from demo.report.record import DemoRecord, Stage, Task, group_stage, group_state
from demo.report.summary import shift_seconds, summary
from tests.local.demo.records import DIGEST, at


def shape(value: Any) -> Any:
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def test_has_exactly_the_documented_structure(record: DemoRecord) -> None:
    document = json.loads(json.dumps(summary(record)))
    stages = document.pop("stages")
    assert shape(document) == {
        "data": None,
        "features": dict.fromkeys(("hours", "offline_rows", "redis_keys", "dynamodb_items")),
        "training": dict.fromkeys(("train_rows", "queries", "mlflow_run_id", "ndcg_at_10", "logged_order_ndcg_at_10")),
        "gate": {"verdict": None, "reasons": None},
        "registry": {"name": None, "version": None, "aliases": {"previous": None, "production": None}},
        "experiment": {"verdict": None, "users": {"control": None, "treatment": None}, "looks": None},
        "traffic": dict.fromkeys(("requests", "failed_requests", "speed", "effective_speed", "held_seconds")),
        "approval": dict.fromkeys(("decision", "by", "package_digest")),
        "production": dict.fromkeys(
            (
                "endpoint_config",
                "package_digest",
                "verified",
                "requests_during_shift",
                "failed_requests_during_shift",
            )
        ),
    }
    assert {tuple(stage) for stage in stages.values()} == {("seconds", "state", "cpu_seconds", "waited_for")}
    assert stages["stack"] == {"seconds": 30.2, "state": "success", "cpu_seconds": 41.3, "waited_for": {}}
    assert stages["train"]["waited_for"] == {"train.train_model": {"queued": 1.5, "deferred": 8.5}}
    assert document["experiment"]["looks"] == 6
    assert document["traffic"]["effective_speed"] == 301.3
    assert document["approval"] == {"decision": "Approve", "by": "product_manager", "package_digest": DIGEST}


def test_counts_requests_between_the_start_of_the_shift_and_the_end_of_verification(record: DemoRecord) -> None:
    production = summary(record)["production"]
    assert production["requests_during_shift"] == 41 * 20 + 1
    assert production["failed_requests_during_shift"] == 1, "the failure before the shift is not the shift's"


def test_the_second_in_which_the_shift_begins_belongs_to_it(record: DemoRecord) -> None:
    assert record.production is not None
    late = record.production.model_copy(update={"started": at(400.9)})
    assert shift_seconds(record.model_copy(update={"production": late}))[0].at == at(400)


def test_what_was_skipped_is_null(record: DemoRecord) -> None:
    parts = ("features", "training", "gate", "registry", "experiment", "approval", "production")
    document = summary(record.model_copy(update=dict.fromkeys((*parts, "traffic_totals"))))
    assert {part: document[part] for part in (*parts, "traffic")} == dict.fromkeys((*parts, "traffic"))


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["success", "skipped", "success"], "success"),
        (["skipped", "skipped"], "skipped"),
        (["success", "failed", "upstream_failed"], "failed"),
        (["upstream_failed", "success"], "skipped"),
        ([], "skipped"),
    ],
)
def test_a_group_is_what_its_tasks_make_it(states: list[str], expected: str) -> None:
    assert group_state(states) == expected


def test_a_group_lasts_from_its_first_start_to_its_last_end() -> None:
    def task(name: str, state: str, start: float | None, end: float | None) -> Task:
        moments = {"started": at(start) if start else None, "ended": at(end) if end else None}
        return Task(dag_id="d", run_id="r", task_id=f"gate.{name}", state=state, **moments)

    tasks = [task("a", "success", 1, 5), task("b", "success", 5, 9), task("c", "skipped", 99, 99)]
    assert group_stage("gate", tasks) == Stage(name="gate", state="success", started=at(1), ended=at(9))
    assert group_stage("gate", []).seconds == 0
