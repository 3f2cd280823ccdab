"""A feature is one entry in ``features.yaml`` and one expression in its group's query; nothing else names it."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
YAML, SQL = "adrank/contracts/features.yaml", "sql/features/ad_engagement.sql"
ENTRY = (
    "      - {name: contacts_per_click_28d, default: null, range: [0, 1.0e6],"
    " description: Contacts over clicks in the last 672 hours.}\n"
)
EXPRESSION = "    try_divide(counted.contacts_28d, counted.clicks_28d) AS contacts_per_click_28d,\n"


def put(path: Path, text: str, *, after: str) -> None:
    """Insert ``text`` behind the only line that begins with ``after``."""
    lines = path.read_text().splitlines(keepends=True)
    (place,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(after)]
    path.write_text("".join([*lines[:place], text, *lines[place:]]))


def changed(compared: filecmp.dircmp[str]) -> Iterator[str]:
    yield from (str(Path(compared.right) / name) for name in (*compared.diff_files, *compared.right_only))
    for below in compared.subdirs.values():
        yield from changed(below)


@pytest.mark.spark
def test_a_new_feature_arrives_everywhere_from_its_entry_and_its_expression(tmp_path: Path) -> None:
    include = tmp_path / "include"
    shutil.copytree(ROOT / "include", include, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    put(include / YAML, ENTRY, after="- {name: hours_since_contact,")
    put(include / SQL, EXPRESSION, after="counted.entity_id,")
    assert sorted(changed(filecmp.dircmp(ROOT / "include", include))) == [str(include / YAML), str(include / SQL)]

    paths = f"pythonpath={include} {ROOT / 'plugins'} {ROOT / 'local'} {ROOT}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        paths,
        "-p",
        "no:cacheprovider",
        "tests/support/new_feature.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(include), "PYTHONDONTWRITEBYTECODE": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "1 passed" in told.stdout
