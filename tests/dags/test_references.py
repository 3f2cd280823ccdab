"""What a task takes from another, that other returns, and it comes before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from adrank.contracts.settings import Settings
from adrank_airflow.base import AdrankTask

ROOT = Path(__file__).resolve().parents[2]
#: The two forms that adrank_airflow.xcom renders.
FIELD = re.compile(r"ti\.xcom_pull\(task_ids='([^']+)'\)\['(\w+)'\]")
FIELD_OR_EMPTY = re.compile(r"\(ti\.xcom_pull\(task_ids='([^']+)'\) or \{\}\)\.get\('(\w+)', ''\)")
#: As text of a template; code says `context["ti"]`.
PULL = re.compile(r"(?<![\w\"\]])ti\.xcom_pull")


def strings(value: Any) -> Iterator[str]:
    """Every string in a template field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (found for item in value.values() for found in strings(item))
    elif isinstance(value, list | tuple):
        yield from (found for item in value for found in strings(item))


def templates(task: Any) -> Iterator[str]:
    values = getattr(task, "partial_kwargs", None) or vars(task)
    for field in task.template_fields:
        yield from strings(values.get(field))


def wrong_references(dag: Any) -> list[str]:
    """References that nothing stands behind, as readable lines."""
    found = []
    for task in dag.tasks:
        for template in templates(task):
            for task_id, key in FIELD.findall(template) + FIELD_OR_EMPTY.findall(template):
                reference = f"{task.task_id}: {task_id}[{key}]"
                if task_id not in dag.task_dict:
                    found.append(f"{reference}: no such task")
                elif key not in getattr(dag.get_task(task_id), "returns", ()):
                    found.append(f"{reference}: not returned")
                elif task_id not in task.get_flat_relative_ids(upstream=True):
                    found.append(f"{reference}: not before it")
            if "xcom_pull" in FIELD.sub("", FIELD_OR_EMPTY.sub("", template)):
                found.append(f"{task.task_id}: {template}: another form")
    return found


def test_every_reference_leads_to_a_field_of_an_earlier_task(dags: dict[str, Any]) -> None:
    assert {dag_id: wrong_references(dag) for dag_id, dag in dags.items()} == {dag_id: [] for dag_id in dags}


def test_the_references_are_found(weekly: Any) -> None:
    found = [text for task in weekly.tasks for text in templates(task) if FIELD.search(text)]
    assert len(found) > 20
    assert [task.task_id for task in weekly.tasks for text in templates(task) if FIELD_OR_EMPTY.search(text)] == [
        "approval.collect_evidence",
        "production.restore_production",
    ]


class Takes(AdrankTask):
    """Returns one field and takes another's."""

    returns = ("digest",)
    template_fields = ("given",)

    def __init__(self, *, given: Any = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.given = given


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("{{ ti.xcom_pull(task_ids='gone')['digest'] }}", "no such task"),
        ({"a": ["{{ ti.xcom_pull(task_ids='before')['rows'] }}"]}, "not returned"),
        ("{{ (ti.xcom_pull(task_ids='before') or {}).get('rows', '') }}", "not returned"),
        ("{{ ti.xcom_pull(task_ids='aside')['digest'] }}", "not before it"),
        ("{{ ti.xcom_pull(task_ids='before') }}", "another form"),
        ('{{ ti.xcom_pull("before")["digest"] }}', "another form"),
    ],
)
def test_a_reference_to_nothing_is_found(given: Any, complaint: str) -> None:
    with DAG(dag_id="careless", schedule=None, default_args={"settings": Settings()}) as careless:
        before, takes, _ = Takes(task_id="before"), Takes(task_id="takes", given=given), Takes(task_id="aside")
        before >> takes
    (line,) = wrong_references(careless)
    assert line.endswith(complaint)


def pulls(text: str) -> bool:
    return PULL.search(text) is not None


def test_templates_are_written_in_one_place() -> None:
    found = [
        str(path.relative_to(ROOT))
        for house in ("dags", "plugins")
        for path in sorted((ROOT / house).rglob("*.py"))
        if pulls(path.read_text())
    ]
    assert found == ["plugins/adrank_airflow/xcom.py"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("version='{{ ti.xcom_pull(\"a\") }}'", True),
        ("f'{{{{ (ti.xcom_pull(task_ids=x)) }}}}'", True),
        ('context["ti"].xcom_pull(task_ids=x)', False),
    ],
)
def test_a_template_elsewhere_is_found(text: str, found: bool) -> None:
    assert pulls(text) is found
