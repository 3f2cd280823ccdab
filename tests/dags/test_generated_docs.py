"""The catalogues and the graph snapshots say what the DAGs and the registry say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from adrank.contracts import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_is_up_to_date(generator: Any, dags: dict[str, Any]) -> None:
    assert generator.CATALOGUE.read_text() == generator.catalogue(dict(sorted(dags.items()))), "run `make docs`"


def test_the_feature_catalogue_is_up_to_date(generator: Any) -> None:
    assert generator.FEATURES.read_text() == generator.features(registry.load()), "run `make docs`"


def test_every_graph_is_wired_as_its_snapshot_says(generator: Any, dags: dict[str, Any]) -> None:
    committed = {path.stem: path.read_text() for path in generator.SNAPSHOTS.glob("*.txt")}
    assert committed == {dag_id: generator.snapshot(dag) for dag_id, dag in dags.items()}, "run `make docs`"


def test_a_changed_wiring_changes_the_snapshot(generator: Any) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    def dag(trigger_rule: str) -> Any:
        with DAG(dag_id="x", schedule=None) as made:
            EmptyOperator(task_id="a") >> EmptyOperator(task_id="b", trigger_rule=trigger_rule)
        return made

    assert generator.snapshot(dag("all_success")) != generator.snapshot(dag("all_done"))
