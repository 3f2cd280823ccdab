"""The repository's DAGs, loaded once, the way the DAG processor loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dag_bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="session")
def dags(dag_bag: Any) -> dict[str, Any]:
    return dict(dag_bag.dags)


@pytest.fixture(scope="session")
def weekly(dags: dict[str, Any]) -> Any:
    return dags["ranking_training_weekly"]
