"""The tests' own rules: what they share is in tests/support, and a name is short enough to read."""

from __future__ import annotations

import ast

import pytest

from tests.support.import_graph import ROOT, files, imports, package_of

LONGEST_NAME = 80


def borrowed(path: str, source: str) -> list[str]:
    """Imports of a conftest or of another test module."""
    return [
        f"{path}:{statement.line}: {statement.name}"
        for statement in imports(source, package_of(path))
        if statement.top == "tests"
        if any(part == "conftest" or part.startswith("test_") for part in statement.name.split("."))
    ]


def long_names(source: str) -> list[str]:
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and len(node.name) > LONGEST_NAME
    ]


def test_nothing_imports_a_conftest_or_another_test_module() -> None:
    checked = files("tests", "benchmarks")
    assert len(checked) > 150
    assert [line for path in checked for line in borrowed(str(path.relative_to(ROOT)), path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "from tests.include.spark.conftest import at",
        "from tests.dags import conftest",
        "import tests.dags.test_owners",
        "def f():\n    from tests.dags.test_owners import x",
        "from .test_owners import x",
    ],
)
def test_a_borrowed_import_is_found(source: str) -> None:
    assert borrowed("tests/dags/test_a.py", source)


def test_what_tests_share_may_be_imported() -> None:
    assert not borrowed("tests/dags/test_a.py", "from tests.support.registries import known_late\nimport pytest")


def test_a_long_name_is_found() -> None:
    kept = "def test_" + "a" * 75 + "(): ..."
    assert long_names(f"{kept}\nasync def test_{'b' * 76}(): ...") == ["test_" + "b" * 76]


def test_no_name_is_too_long() -> None:
    found = [f"{path.relative_to(ROOT)}: {name}" for path in files("tests") for name in long_names(path.read_text())]
    assert found == []
