"""Imports point one way: dags -> adrank_airflow -> adrank; jobs -> adrank; local -> adrank and public APIs."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

JOBS = ("spark", "training", "serving", "ingestion", "expectations")
LOCAL = ("localcloud", "simulator", "stack", "demo")
OURS = {"adrank", "adrank_airflow", "deploy", *JOBS, *LOCAL}
HEAVY = {"pandas", "boto3", "mlflow", "lightgbm", "pyspark", "redis", "duckdb", "pyarrow", "numpy"}


@dataclass(frozen=True)
class Import:
    """One imported module; ``lazy`` when it stands inside a function or an ``if TYPE_CHECKING``."""

    module: str
    line: int
    lazy: bool

    def is_within(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(package + ".") for package in packages)

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports(source: str, package: str = "") -> Iterator[Import]:
    """Every import of a module; relative ones are resolved against ``package``."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from adrank import decisions` imports adrank.decisions.
            yield from (Import(f"{module}.{name.name}", node.lineno, lazy) for name in node.names)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_typing(node)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    yield from visit(ast.parse(source), False)


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def violations(path: str, source: str) -> list[str]:
    """What a file (path relative to the repository) may not import, as readable lines."""
    parts = Path(path).with_suffix("").parts
    package = ".".join(parts[1:-1])
    found = []
    for statement in imports(source, package):
        reason = _forbidden(parts, statement)
        if reason:
            found.append(f"{path}:{statement.line}: {statement.module}: {reason}")
    return found


def _forbidden(parts: tuple[str, ...], statement: Import) -> str | None:
    house = parts[0]
    if house in ("dags", "plugins") and statement.top in HEAVY and not statement.lazy:
        return "heavy: import it inside the function that uses it"
    if statement.top not in OURS | {"airflow", "dags"}:
        return _forbidden_to_contracts(parts, statement)
    if house == "dags":
        return None if statement.is_within(*DAGS_MAY) else "a DAG file wires operators, contracts and decisions only"
    if house == "plugins":
        return None if statement.is_within(*PLUGINS_MAY) else "plugins know adrank's contracts and decisions only"
    if house == "include":
        allowed = {"adrank", *(() if parts[1] == "adrank" else JOBS_SEE.get(parts[1], (parts[1],)))}
        return None if statement.top in allowed else f"include/{parts[1]} stands on adrank alone"
    if house == "deploy":
        return None if statement.is_within("adrank.contracts", "deploy") else "deploy knows adrank's contracts only"
    if house == "local":
        return (
            None
            if statement.top in {"adrank", "deploy", *LOCAL, *LOCAL_MAY}
            else "local uses adrank and public APIs only"
        )
    return None


DAGS_MAY = ("airflow", "adrank_airflow", "adrank.contracts", "adrank.decisions")
PLUGINS_MAY = ("airflow", "adrank_airflow", "adrank.contracts", "adrank.decisions", "adrank.storage")
# The Spark entry points validate with the suites beside them.
JOBS_SEE = {"spark": ("spark", "expectations")}
# Resources and publishing, the importer of own logs, the router's client, the packing of the incumbent.
LOCAL_MAY = ("deploy", "ingestion", "serving", "training")


def _forbidden_to_contracts(parts: tuple[str, ...], statement: Import) -> str | None:
    if parts[:3] == ("include", "adrank", "contracts"):
        allowed = {*sys.stdlib_module_names, "yaml", "pydantic", "pydantic_settings"}
        return None if statement.top in allowed else "contracts use the standard library, PyYAML and pydantic only"
    return None


def modules() -> list[Path]:
    return [
        path
        for house in ("dags", "plugins", "include", "deploy", "local")
        for path in sorted((ROOT / house).rglob("*.py"))
        if "node_modules" not in path.parts
    ]


def test_every_import_points_the_right_way() -> None:
    checked = modules()
    assert len(checked) > 40, "the walk no longer finds the code"
    wrong = [line for path in checked for line in violations(str(path.relative_to(ROOT)), path.read_text())]
    assert not wrong, "\n" + "\n".join(wrong)


LOCAL_WORDS = re.compile(r"\b(localcloud|moto|dynalite|nanio)\b|\bif .*\blocal\b")


def test_production_code_does_not_know_that_it_may_run_locally() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules()
        if path.relative_to(ROOT).parts[0] != "local"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LOCAL_WORDS.search(line)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("line", ["    if local:", "from localcloud import x", "# works with moto too"])
def test_a_word_of_the_equipment_is_found(line: str) -> None:
    assert LOCAL_WORDS.search(line)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("dags/a.py", "import pandas", id="a heavy import at module level of a DAG"),
        pytest.param("plugins/adrank_airflow/hooks/a.py", "from boto3 import client", id="heavy in a plugin"),
        pytest.param("dags/a.py", "from adrank.online import writer", id="a DAG that reaches past the contracts"),
        pytest.param("dags/a.py", "from adrank import online", id="the same by another spelling"),
        pytest.param("dags/a.py", "from dags import b", id="a DAG that imports another"),
        pytest.param("plugins/adrank_airflow/a.py", "from training import job", id="a plugin that imports a job"),
        pytest.param("include/adrank/a.py", "import airflow", id="the library that imports Airflow"),
        pytest.param("include/adrank/a.py", "def f():\n    from airflow.sdk import DAG", id="Airflow even lazily"),
        pytest.param("include/training/a.py", "import serving.inference.app", id="a job that imports another job"),
        pytest.param("include/adrank/a.py", "from training import job", id="the library that imports a job"),
        pytest.param("include/spark/a.py", "import localcloud", id="a job that knows the equipment"),
        pytest.param("include/adrank/contracts/a.py", "import numpy", id="contracts that need numpy"),
        pytest.param("deploy/a.py", "from stack import environment", id="production that needs the equipment"),
        pytest.param("deploy/a.py", "from adrank import storage", id="deployment that reaches past the contracts"),
        pytest.param("include/spark/a.py", "import deploy", id="a job that knows how it is deployed"),
        pytest.param("local/stack/a.py", "import adrank_airflow", id="equipment that imports the plugins"),
        pytest.param("local/stack/a.py", "from airflow.models import DagRun", id="equipment inside Airflow's database"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("plugins/adrank_airflow/hooks/a.py", "def f():\n    import boto3"),
        ("plugins/adrank_airflow/hooks/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import boto3"),
        ("dags/a.py", "from adrank.decisions import gate"),
        ("dags/a.py", "from adrank import contracts"),
        ("include/training/a.py", "from . import job\nfrom training.model.ndcg import x\nimport lightgbm"),
        ("include/adrank/contracts/a.py", "import yaml\nfrom datetime import UTC\nfrom . import lake"),
        ("deploy/a.py", "import boto3\nfrom adrank.contracts import lake\nfrom deploy import resources"),
        ("local/stack/a.py", "from localcloud import config\nfrom deploy import provision"),
    ],
)
def test_a_right_import_is_not(path: str, source: str) -> None:
    assert not violations(path, source)
