"""Keys of the lake are spelled in one module, so that a prefix can be found, and changed, in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPELLS = Path("include/adrank/contracts/lake.py")
ROOMS = (
    *("raw", "inbox", "quarantine", "catalogue", "examination", "tiles", "rollups", "windows", "features", "leases"),
    *("validation", "online", "audit", "served", "reports", "training", "models", "experiments", "verdicts"),
)
KEY = re.compile(rf"({'|'.join(ROOMS)})/")
# Statements in include/sql have names with a slash too.
NAMES = {"statement"}


def spelled(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string that begins as a key does, but for docstrings and other names."""
    tree = ast.parse(source)
    others = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            others.add(id(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NAMES:
            others.update(map(id, node.args))
    # The later parts of an f-string may be in the middle of a key.
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    for node in ast.walk(tree):
        if id(node) in others | inside or not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if KEY.match(node.value):
            yield node.lineno, node.value


def test_only_the_contract_spells_keys() -> None:
    code = [
        path for house in ("dags", "plugins", "include", "local", "deploy") for path in (ROOT / house).rglob("*.py")
    ]
    assert len(code) > 200, "the walk no longer finds the code"
    paths = sorted(path.relative_to(ROOT) for path in code if "node_modules" not in path.parts)
    assert list(spelled((ROOT / SPELLS).read_text())), "keys are spelled somewhere else now"
    wrong = [
        f"{path}:{line}: {text}"
        for path in paths
        if path != SPELLS
        for line, text in spelled((ROOT / path).read_text())
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        'store.folders("raw/events/")',
        'key = f"features/{group}/dt={day}/"',
        'def f():\n    return "models/" + digest',
        'PREFIXES = {"verdict": "verdicts/billing/"}',
    ],
)
def test_a_key_that_is_spelled_elsewhere_is_found(source: str) -> None:
    assert list(spelled(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""raw/events/ holds what came."""',
        'def f():\n    """features/<group>/ is read."""\n    return lake.FEATURES(g).prefix',
        'duckdb_sql.statement("training/ads")',
        'f"{root}raw/events/"',
        '"drawn/by hand"',
        '"the prefix raw/events/"',
    ],
)
def test_what_is_no_key_is_not(source: str) -> None:
    assert not list(spelled(source))
