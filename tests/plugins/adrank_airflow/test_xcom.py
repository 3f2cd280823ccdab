"""A field of what a task returned: an unknown one fails as the DAG is parsed, a missing one as it is rendered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup

from adrank.contracts.settings import Settings
from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import UnknownFieldError


class Trains(AdrankTask):
    """Returns two fields."""

    returns = ("digest", "rows")

    def __init__(self, *, part: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part


@pytest.fixture
def dag(settings: Settings) -> DAG:
    with DAG(dag_id="d", schedule=None, default_args={"settings": settings}) as made:
        with TaskGroup("train"):
            Trains(task_id="model")
        Trains(task_id="loose")
        Trains.partial(task_id="mapped").expand(part=["a", "b"])
        EmptyOperator(task_id="empty")
    return made


def rendered(dag: DAG, template: str, returned: dict[str, Any]) -> Any:
    context: Any = {"ti": SimpleNamespace(xcom_pull=lambda task_ids: returned.get(task_ids))}
    return dag.get_task("loose").render_template(template, context, dag.get_template_env())


def test_a_task_in_a_group_is_referred_to_by_its_whole_id(dag: DAG) -> None:
    template = xcom.field(dag.get_task("train.model"), "digest")
    assert template == "{{ ti.xcom_pull(task_ids='train.model')['digest'] }}"
    assert rendered(dag, template, {"train.model": {"digest": "abc"}, "model": {"digest": "other"}}) == "abc"


@pytest.mark.parametrize("returned", [{}, {"loose": None}, {"loose": {"rows": 1}}])
def test_what_was_not_returned_fails_the_task_that_wants_it(dag: DAG, returned: dict[str, Any]) -> None:
    with pytest.raises(jinja2.UndefinedError):
        rendered(dag, f"--digest={xcom.field(dag.get_task('loose'), 'digest')}", returned)


@pytest.mark.parametrize("returned", [{}, {"loose": None}, {"loose": {"rows": 1}}])
def test_what_a_skipped_task_did_not_return_is_empty_where_that_may_be(dag: DAG, returned: dict[str, Any]) -> None:
    template = xcom.field_or_empty(dag.get_task("loose"), "digest")
    assert rendered(dag, template, returned) == ""
    assert rendered(dag, template, {"loose": {"digest": "abc"}}) == "abc"


@pytest.mark.parametrize("refer", [xcom.field, xcom.field_or_empty, xcom.source])
@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("train.model", r"train\.model returns no digset; it returns digest, rows"),
        ("empty", "it returns no fields"),
        ("mapped", "it returns no fields"),
    ],
)
def test_an_unknown_field_is_found_as_the_dag_is_parsed(dag: DAG, refer: Any, task_id: str, message: str) -> None:
    with pytest.raises(UnknownFieldError, match=message):
        refer(dag.get_task(task_id), "digset")
