"""What is read of a weekly run, however far it came."""

import io
import json
import tarfile
from typing import Any

import pytest

from adrank.contracts.settings import Settings
from adrank.storage.object_store import ObjectStore
from demo.report.record import Interval, Task
from demo.runs.dag_runs import DagRun, DagRunClient
from demo.runs.results import Collector
from tests.local.demo.airflow_edge import AirflowEdge
from tests.local.demo.records import at

RUN = DagRun("ranking_training_weekly", "demo-1", "success", None)
BASE = "/dags/ranking_training_weekly/dagRuns/demo-1/taskInstances"
MODEL = "s3://adrank-lake/training/k/model/job-1/output/model.tar.gz"


class Bucket(ObjectStore):
    """A table of objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__("adrank-lake", None)
        self._objects = objects

    def find(self, key: str) -> bytes | None:
        return self._objects.get(key)

    def get(self, key: str) -> bytes:
        return self._objects[key]


class Models:
    aliases = {"production": "2", "previous": "1"}

    def get_registered_model(self, name: str) -> "Models":
        assert name == "ranking-model"
        return self


def packed(result: dict[str, Any]) -> bytes:
    archive, content = io.BytesIO(), json.dumps(result).encode()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("./result.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def look(number: int, verdict: str) -> bytes:
    lift = {"control": 1.0, "treatment": 1.4, "lift": 0.4, "lower": 0.1, "upper": None}
    judged = {"verdict": verdict, "reasons": [], "lifts": {"contacts": lift}, "users": {}}
    return json.dumps({"look": number, "elapsed_hours": 4 * number, "ended": True, "verdict": judged}).encode()


@pytest.fixture
def edge() -> AirflowEdge:
    returned = {
        "train.train_model": {
            "model_data_url": MODEL,
            "mlflow_run_id": "run-1",
            "train_rows": 10,
            "queries": 5,
            "ndcg_at_10": 0.5,
            "logged_order_ndcg_at_10": 0.4,
        },
        "gate.judge_candidate": {"verdict": "pass", "reasons": ["fine"]},
        "register.register_package": {"version": 2, "package_digest": "d1"},
        "ab_test.start_routing": {"experiment_id": "ab-1"},
        "ab_test.await_verdict": {
            "verdict": "promote",
            "reasons": ["better"],
            "looks": 2,
            "users": {"control": 7, "treatment": 8},
        },
        "approval.collect_evidence": {"package_digest": "d1", "report_digest": "r1"},
        "production.shift_traffic": {"endpoint_config": "config-1"},
        "production.verify_production": {"package_digest": "d1", "verified": True},
    }
    edge = AirflowEdge()
    for task_id, value in returned.items():
        edge.on(f"{BASE}/{task_id}/xcomEntries/return_value", {"value": value})
    question = {"subject": "s", "body": "b", "chosen_options": ["Approve"], "responded_by_user": {"id": "pm"}}
    return edge.on(f"{BASE}/approval.approve_promotion/-1/hitlDetails", question)


def collector(edge: AirflowEdge) -> Collector:
    folds = [
        {"start": "2026-03-01T00:00:00+00:00", "ndcg_at_10": 0.6, "logged_order_ndcg_at_10": 0.3},
        {"start": "2026-03-02T00:00:00+00:00", "ndcg_at_10": 0.5, "logged_order_ndcg_at_10": 0.4},
    ]
    result = packed({"folds": folds, "importance": {"ctr_7d": 3.0}})
    objects = {"training/k/model/job-1/output/output.tar.gz": result}
    objects |= {f"experiments/ab-1/look=00{n}/verdict.json": look(n, "promote") for n in (1, 2)}
    return Collector(Settings(), DagRunClient(edge), RUN, Bucket(objects), Models())


def shifted(ended: float | None) -> list[Task]:
    task = {"dag_id": RUN.dag_id, "run_id": RUN.run_id, "state": "success"}
    shift = Task(**task, task_id="production.shift_traffic", started=at(1), ended=at(9))
    verify = Task(**task, task_id="production.verify_production", started=at(9), ended=at(ended) if ended else None)
    return [shift, verify]


def test_a_promoted_run_is_read_whole(edge: AirflowEdge) -> None:
    results = collector(edge).everything(shifted(ended=12))
    assert results.training is not None
    assert [fold.name for fold in results.training.folds] == ["from 01 Mar 00:00", "test fold"]
    assert results.training.importance == {"ctr_7d": 3.0}
    assert results.registry is not None
    assert results.registry.aliases == {"previous": "1", "production": "2"}
    assert results.experiment is not None
    assert [(seen.number, seen.elapsed_hours) for seen in results.experiment.looks] == [(1, 4), (2, 8)]
    assert results.experiment.looks[0].lifts == {"contacts": Interval(lift=0.4, lower=0.1, upper=None)}
    assert results.approval is not None
    assert (results.approval.decision, results.approval.by, results.approval.package_digest) == ("Approve", "pm", "d1")
    assert results.production is not None
    assert (results.production.started, results.production.ended) == (at(1), at(12))
    assert results.production.verified


def test_a_run_that_came_to_nothing_has_nothing() -> None:
    results = collector(AirflowEdge()).everything([])
    assert not any(vars(results).values())


def test_a_shift_that_was_not_verified_says_so(edge: AirflowEdge) -> None:
    del edge.answers[f"{BASE}/production.verify_production/xcomEntries/return_value"]
    production = collector(edge).production({task.task_id: task for task in shifted(ended=None)})
    assert production is not None
    assert not production.verified
    assert (production.package_digest, production.ended) == ("d1", at(9))


def test_a_shift_that_was_skipped_shifted_nothing(edge: AirflowEdge) -> None:
    skipped = {task.task_id: task.model_copy(update={"state": "skipped"}) for task in shifted(ended=12)}
    assert collector(edge).production(skipped) is None


def test_a_question_that_nobody_answered_is_no_approval(edge: AirflowEdge) -> None:
    edge.on(f"{BASE}/approval.approve_promotion/-1/hitlDetails", {"subject": "s", "body": "b", "chosen_options": []})
    assert collector(edge).approval() is None


def test_a_look_that_was_not_judged_yet_is_not_there(edge: AirflowEdge) -> None:
    assert collector(edge).look("ab-1", 3) is None
