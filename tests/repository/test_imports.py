"""Imports point one way: who may import what of ours, and in which order the folders of a package stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.import_graph import (
    HOUSES,
    ROOT,
    Import,
    ImportGraph,
    files,
    imports,
    is_within,
    module_of,
    package_of,
)

ADRANK = tuple(
    f"adrank.{room}" for room in ("contracts", "decisions", "kafka", "online", "ranking", "runtime", "storage")
)
#: Beside itself, what a package may import of ours. What is not named here belongs to no rule and is refused.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "dags": ("adrank_airflow", "adrank.contracts", "adrank.decisions"),
    "adrank_airflow": ("adrank.contracts", "adrank.decisions", "adrank.storage"),
    "adrank.contracts": (),
    "adrank.runtime": (),
    "adrank.decisions": ("adrank.contracts",),
    "adrank.ranking": ("adrank.contracts",),
    "adrank.kafka": ("adrank.contracts",),
    "adrank.storage": ("adrank.contracts", "adrank.runtime"),
    "adrank.online": ("adrank.contracts", "adrank.ranking", "adrank.runtime"),
    "expectations": ("adrank.contracts",),
    "spark": (*(room for room in ADRANK if room != "adrank.kafka"), "expectations"),
    "training": tuple(room for room in ADRANK if room not in ("adrank.kafka", "adrank.storage")),
    "serving.inference": tuple(room for room in ADRANK if room not in ("adrank.kafka", "adrank.decisions")),
    "serving.router": ("adrank.contracts", "adrank.kafka", "adrank.runtime"),
    "ingestion": ("adrank.contracts", "adrank.kafka", "adrank.storage", "adrank.runtime"),
    "deploy": ("adrank.contracts",),
    "localcloud": (),
    "simulator": (*ADRANK, "ingestion", "serving"),
    "stack": (*ADRANK, "deploy", "ingestion", "localcloud", "simulator"),
    "demo": (*ADRANK, "ingestion", "training", "simulator", "stack"),
}

#: Folders and modules of a package, from the top down: each imports itself and what stands in rows below its own.
ORDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "adrank_airflow": (
        ("operators.features", "operators.release", "operators.training"),
        ("operators.checks", "operators.verdicts", "operators.jobs", "sensors"),
        ("xcom",),
        ("base",),
        ("hooks", "triggers"),
        ("dag_defaults", "errors", "links"),
    ),
    "ingestion": (("connect", "own_logs"), ("archiver", "billing", "capture"), ("landing",)),
    "spark": (
        ("jobs",),
        ("aggregation", "application"),
        ("catalogue", "online"),
        ("lake",),
    ),
    "training": (
        ("build_training_set", "evaluate", "measure_experiment", "package_incumbent", "train"),
        ("model",),
        ("dataset",),
    ),
    "demo": (
        ("__main__",),
        ("command",),
        ("stages",),
        ("incumbent", "lake_counts", "sources", "traffic_process"),
        ("plan", "runs"),
        ("signals",),
        ("report",),
        ("interrupts",),
    ),
    "localcloud": (
        ("control_plane",),
        ("gateway",),
        ("emr", "sagemaker"),
        ("runner",),
        ("storage",),
        ("faults",),
        ("cloudwatch", "processes", "state"),
        ("clock", "settings"),
    ),
    "simulator": (("traffic",), ("history",), ("sinks",), ("marketplace",)),
    "stack": (
        ("__main__",),
        ("lifecycle",),
        ("start_up",),
        ("health", "provision"),
        ("airflow_client", "process_cpu", "stall"),
        ("servers",),
        ("setup", "supervisor"),
        ("credentials",),
        ("environment",),
        ("paths", "ports"),
        ("settings", "airflow_local_settings"),
    ),
}

#: Imports that are not right yet: (module, name that it imports). To be emptied, never to be filled.
NOT_YET: set[tuple[str, str]] = set()

OURS = {name.split(".")[0] for name in MAY_IMPORT}
AIRFLOW_MAY = ("dags", "adrank_airflow")
HEAVY = {"pandas", "boto3", "mlflow", "lightgbm", "pyspark", "redis", "duckdb", "pyarrow", "numpy"}
#: What a package may import of others, anywhere in it; and what it may not import while it is being imported.
OTHERS: dict[str, set[str]] = {
    "adrank.contracts": {*sys.stdlib_module_names, "yaml", "pydantic", "pydantic_settings"},
}
AT_MODULE_LEVEL: dict[str, set[str]] = {"adrank.runtime": {*sys.stdlib_module_names, "tenacity"}}
NOT_AT_MODULE_LEVEL: dict[str, set[str]] = {"dags": HEAVY, "adrank_airflow": HEAVY, "adrank.storage": HEAVY}


def rule_of(module: str, rules: dict[str, object]) -> str | None:
    """The longest name in ``rules`` that the module is within."""
    return max((name for name in rules if is_within(module, name)), key=len, default=None)


def violations(path: str, source: str) -> list[str]:
    """What a file (path relative to the repository) may not import, as readable lines."""
    module = module_of(path)
    return [
        f"{path}:{statement.line}: {statement.name}: {reason}"
        for statement in imports(source, package_of(path))
        if (module, statement.name) not in NOT_YET
        for reason in reasons(module, statement)
    ]


def reasons(module: str, statement: Import) -> Iterator[str]:
    if statement.top == "airflow" and not is_within(module, *AIRFLOW_MAY):
        yield "only DAGs and plugins know Airflow"
    if statement.top == "airflow" or statement.top in OURS:
        yield from _reasons_among_us(module, statement)
        return
    if statement.top in ("tests", "benchmarks"):
        yield "no product code knows its tests"
    for rules, applies, forbidden in (
        (OTHERS, True, lambda names: statement.top not in names),
        (AT_MODULE_LEVEL, not statement.lazy, lambda names: statement.top not in names),
        (NOT_AT_MODULE_LEVEL, not statement.lazy, lambda names: statement.top in names),
    ):
        rule = rule_of(module, rules)
        if applies and rule and forbidden(rules[rule]):
            yield f"{rule} does without, at least at module level"


def _reasons_among_us(module: str, statement: Import) -> Iterator[str]:
    rule = rule_of(module, MAY_IMPORT)
    if statement.top == "airflow":
        return
    if rule is None:
        # Packages without a rule of their own hold packages only: include/adrank, include/serving.
        yield "has no rule in MAY_IMPORT"
    elif rule == "dags" and is_within(statement.name, "dags"):
        yield "DAG files meet through assets only"
    elif not is_within(statement.name, rule, *MAY_IMPORT[rule]):
        # `from adrank import contracts` names a package that may be imported; `import adrank` all of them.
        yield f"{rule} may import {', '.join(MAY_IMPORT[rule]) or 'nothing of ours'}"
    elif statement.top in ORDER and is_within(module, statement.top):
        yield from _reasons_of_order(statement.top, module, statement.name)


def _reasons_of_order(package: str, module: str, name: str) -> Iterator[str]:
    own, other = (place(package, of.removeprefix(package).removeprefix(".")) for of in (module, name))
    if own is None or other is None:
        if module != package and name != package:
            yield f"has no place in the order of {package}"
        return
    (own_row, own_folder), (other_row, other_folder) = own, other
    if own_folder != other_folder and own_row >= other_row:
        yield f"in {package}, {own_folder} stands beside or below {other_folder}"


def place(package: str, name: str) -> tuple[int, str] | None:
    """Row and entry of ORDER for a module or a name in one (without the package's name)."""
    found = [(row, entry) for row, entries in enumerate(ORDER[package]) for entry in entries if is_within(name, entry)]
    return max(found, key=lambda place: len(place[1]), default=None)


def test_every_import_points_the_right_way() -> None:
    checked = files(*HOUSES)
    assert len(checked) > 300, "the walk no longer finds the code"
    wrong = [line for path in checked for line in violations(str(path.relative_to(ROOT)), path.read_text())]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_module_has_a_place() -> None:
    wrong = []
    for module in ImportGraph.of(*HOUSES).paths:
        package = module.split(".")[0]
        if rule_of(module, MAY_IMPORT) is None and module not in ("adrank", "serving"):
            wrong.append(f"{module} has no rule in MAY_IMPORT")
        placed = package not in ORDER or module in (package, "adrank_airflow.operators")
        if not placed and place(package, module.removeprefix(package + ".")) is None:
            wrong.append(f"{module} has no place in the order of {package}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_rule_and_place_is_of_something() -> None:
    modules = ImportGraph.of(*HOUSES).paths
    named = [*MAY_IMPORT, *(name for names in MAY_IMPORT.values() for name in names)]
    named += [f"{package}.{entry}" for package, rows in ORDER.items() for row in rows for entry in row]
    assert {name for name in named if name not in modules} <= {"dags"}


def test_no_exception_has_outlived_its_reason() -> None:
    graph = ImportGraph.of(*HOUSES)
    named = {(module, statement.name) for module in graph.paths for statement in graph.imports(module)}
    assert named >= NOT_YET


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("dags/a.py", "import pandas", id="a heavy import at module level of a DAG"),
        pytest.param("plugins/adrank_airflow/hooks/a.py", "from boto3 import client", id="heavy in a plugin"),
        pytest.param("include/adrank/storage/a.py", "import boto3", id="heavy in what Airflow imports"),
        pytest.param("dags/a.py", "from adrank.online import writer", id="a DAG that reaches past the contracts"),
        pytest.param("dags/a.py", "from adrank import online", id="the same by another spelling"),
        pytest.param("dags/a.py", "import adrank", id="the library as a whole"),
        pytest.param("dags/a.py", "from dags import b", id="a DAG that imports another"),
        pytest.param("plugins/adrank_airflow/hooks/a.py", "from training import job", id="a plugin that imports a job"),
        pytest.param("plugins/adrank_airflow/hooks/a.py", "import adrank.online", id="a plugin past its rooms"),
        pytest.param("include/adrank/online/a.py", "import airflow", id="the library that imports Airflow"),
        pytest.param("include/spark/lake/a.py", "def f():\n    from airflow.sdk import DAG", id="Airflow even lazily"),
        pytest.param("include/adrank/contracts/a.py", "import adrank.decisions", id="contracts that decide"),
        pytest.param("include/adrank/contracts/a.py", "def f():\n    import numpy", id="contracts that need numpy"),
        pytest.param("include/adrank/runtime/a.py", "from adrank.contracts import lake", id="runtime that knows us"),
        pytest.param("include/adrank/runtime/a.py", "import redis", id="runtime that needs Redis"),
        pytest.param("include/adrank/decisions/a.py", "from adrank.storage import leases", id="decisions with I/O"),
        pytest.param("include/adrank/ranking/a.py", "import adrank.online.reader", id="a ranker that fetches"),
        pytest.param("include/adrank/kafka/a.py", "from adrank.storage import leases", id="Kafka that knows the lake"),
        pytest.param("include/adrank/storage/a.py", "from adrank.kafka import producer", id="a lake that knows Kafka"),
        pytest.param("include/adrank/online/a.py", "from adrank.storage import leases", id="a reader that needs S3"),
        pytest.param("include/adrank/online/a.py", "from training import job", id="the library that imports a job"),
        pytest.param("include/adrank/a.py", "from adrank.contracts import lake", id="a module outside every room"),
        pytest.param("include/expectations/a.py", "import spark.lake", id="expectations that know partitions"),
        pytest.param("include/spark/lake/a.py", "from adrank.kafka import messages", id="Spark that knows Kafka"),
        pytest.param("include/spark/lake/a.py", "import localcloud", id="a job that knows the equipment"),
        pytest.param("include/training/model/a.py", "import adrank.storage", id="training that reaches into S3"),
        pytest.param("include/training/model/a.py", "import serving.inference.app", id="a job that imports another"),
        pytest.param(
            "include/serving/inference/a.py", "import serving.router.router", id="a container with the router"
        ),
        pytest.param("include/serving/router/a.py", "import serving.inference.app", id="a router with the container"),
        pytest.param("include/serving/router/a.py", "import adrank.storage.leases", id="a router with S3"),
        pytest.param("include/serving/a.py", "import adrank.contracts.lake", id="a module of neither program"),
        pytest.param("include/ingestion/landing/a.py", "import adrank.decisions.gate", id="landing that judges"),
        pytest.param("deploy/a.py", "from adrank.storage import object_store", id="deploy past the contracts"),
        pytest.param("deploy/a.py", "from stack import environment", id="production that needs the equipment"),
        pytest.param("include/spark/jobs/a.py", "import deploy.publish", id="a job that deploys"),
        pytest.param("plugins/adrank_airflow/hooks/a.py", "from deploy import resources", id="a plugin that deploys"),
        pytest.param("local/localcloud/storage/a.py", "from adrank.contracts import lake", id="AWS that knows us"),
        pytest.param("local/simulator/sinks/a.py", "import stack.paths", id="a market that knows its stack"),
        pytest.param("local/simulator/sinks/a.py", "import deploy.publish", id="a market that deploys"),
        pytest.param("local/stack/servers/a.py", "import demo.stages", id="a stack that knows its demo"),
        pytest.param("local/stack/servers/a.py", "import adrank_airflow", id="equipment that imports the plugins"),
        pytest.param("local/stack/servers/a.py", "import airflow.models", id="equipment inside Airflow's database"),
        pytest.param("local/demo/runs/a.py", "import localcloud.settings", id="a demo that knows how AWS is played"),
        pytest.param("include/spark/lake/a.py", "from tests.support import registries", id="code that knows its tests"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("plugins/adrank_airflow/hooks/a.py", "import adrank_airflow.operators.jobs.emr_step"),
        ("plugins/adrank_airflow/operators/jobs/a.py", "import adrank_airflow.operators.release.endpoint"),
        ("plugins/adrank_airflow/operators/release/a.py", "import adrank_airflow.operators.training.inputs"),
        ("include/ingestion/landing/a.py", "import ingestion.archiver.buffer"),
        ("include/ingestion/capture/a.py", "from ingestion import billing"),
        ("include/ingestion/archiver/a.py", "from ..connect import close_hours"),
        ("include/spark/catalogue/a.py", "from spark.online import push"),
        ("include/spark/lake/a.py", "from spark.jobs.push_features import main"),
        ("include/spark/shelf/a.py", "from spark.lake import files"),
        ("include/training/dataset/a.py", "from training.model import ndcg"),
        ("local/demo/report/a.py", "from demo.runs import weekly"),
        ("local/localcloud/cloudwatch/a.py", "import localcloud.emr.steps"),
        ("local/simulator/marketplace/a.py", "from simulator.traffic import live"),
        ("local/stack/supervisor/a.py", "from stack.lifecycle import start"),
    ],
)
def test_an_import_up_or_across_a_package_is_found(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("plugins/adrank_airflow/hooks/a.py", "def f():\n    import boto3"),
        ("plugins/adrank_airflow/hooks/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import boto3"),
        ("plugins/adrank_airflow/operators/release/a.py", "from adrank_airflow.operators.jobs import emr_step"),
        ("dags/a.py", "from adrank.decisions import gate\nfrom airflow.sdk import DAG"),
        ("dags/a.py", "from adrank import contracts"),
        (
            "include/training/model/a.py",
            "from . import ndcg\nfrom training.dataset import training_set\nimport lightgbm",
        ),
        ("include/adrank/contracts/a.py", "import yaml\nfrom datetime import UTC\nfrom . import lake"),
        ("include/spark/jobs/a.py", "from spark.lake import files\nfrom spark.jobs import push_features"),
        ("local/stack/a.py", "from localcloud import config\nfrom deploy import publish"),
        ("local/demo/report/a.py", "from demo.interrupts import quiet"),
    ],
)
def test_a_right_import_is_not(path: str, source: str) -> None:
    assert not [line for line in violations(path, source) if "no place" not in line]


def test_no_modules_import_each_other() -> None:
    assert ImportGraph.of(*HOUSES, "benchmarks", "tests").circles() == []


def test_a_circle_is_found() -> None:
    around = ImportGraph(
        {
            "include/spark/a.py": "from spark import b",
            "include/spark/b.py": "from spark.c import thing",
            "include/spark/c.py": "import spark.a",
            "include/spark/d.py": "import spark.a\ndef f():\n    import spark.e",
            "include/spark/e.py": "import spark.d",
        }
    )
    assert around.circles() == [["spark.a", "spark.b", "spark.c"]]


MOST_MODULES = 14


def crowded(paths: list[Path]) -> list[str]:
    """Folders with more modules than a reader takes in."""
    folders = [path.parent for path in paths if path.name != "__init__.py"]
    return sorted({f"{folder}: {folders.count(folder)}" for folder in folders if folders.count(folder) > MOST_MODULES})


def test_no_folder_is_crowded() -> None:
    assert crowded([path.relative_to(ROOT) for path in files(*HOUSES, "benchmarks", "tests")]) == []


def test_a_crowded_folder_is_found() -> None:
    modules = [Path(f"a/m{number}.py") for number in range(15)]
    assert crowded([*modules, Path("a/__init__.py"), *(Path("b") / path.name for path in modules[:14])]) == ["a: 15"]


LOCAL_WORDS = re.compile(r"\b(localcloud|moto|dynalite|nanio)\b|\bif .*\blocal\b")


def test_production_code_does_not_know_that_it_may_run_locally() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files(*(house for house in HOUSES if house != "local"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LOCAL_WORDS.search(line)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("line", ["    if local:", "from localcloud import x", "# works with moto too"])
def test_a_word_of_the_equipment_is_found(line: str) -> None:
    assert LOCAL_WORDS.search(line)
