"""A candidate is compared with production where there is one, and with nothing only where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator

from adrank.contracts.settings import Settings
from adrank_airflow.errors import ProductionMismatchError
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.operators.verdicts import ExperimentBranchOperator

DIGEST = "d" * 64


def chosen(settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch, *, named: str, serves: bool) -> Any:
    there = {"EndpointStatus": "InService"} if serves else None
    monkeypatch.setattr(EndpointsHook, "describe", lambda self, endpoint: there)
    compare, first = (EmptyOperator(task_id=name) for name in ("compare", "first"))
    operator = ExperimentBranchOperator(
        task_id="choose", settings=settings, production_digest=named, compare=compare, first=first
    )
    return operator.choose_branch(context)


def test_what_is_in_production_is_compared_with(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(settings, context, monkeypatch, named=DIGEST, serves=True) == "compare"


def test_a_first_model_has_nothing_to_be_compared_with(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(settings, context, monkeypatch, named="", serves=False) == "first"


@pytest.mark.parametrize(("named", "serves"), [(DIGEST, False), ("", True)])
def test_registry_and_endpoint_that_disagree_stop_the_run(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch, named: str, serves: bool
) -> None:
    with pytest.raises(ProductionMismatchError, match=settings.sagemaker.production_endpoint):
        chosen(settings, context, monkeypatch, named=named, serves=serves)
