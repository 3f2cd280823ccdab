"""The jobs' code in the lake."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from deploy import publish

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def include(tmp_path: Path) -> Path:
    for name, text in {
        "adrank/__init__.py": "",
        "adrank/contracts/features.yaml": "a: 1",
        "adrank/__pycache__/x.pyc": "no",
        "spark/jobs/__init__.py": "",
        "spark/jobs/compute.py": "print()",
        "sql/features/ctr.sql": "SELECT 1",
        "training/train.py": "no",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


class Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803 - boto3's names
        self.objects[f"{Bucket}/{Key}"] = Body


def test_archive_entry_points_and_sql_go_below_the_prefix(include: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_INCLUDE", include)
    bucket = Bucket()
    publish.publish(bucket, "lake", "code/current")
    assert sorted(bucket.objects) == [
        "lake/code/current/adrank.zip",
        "lake/code/current/spark/compute.py",
        "lake/code/current/sql/features/ctr.sql",
    ]


def test_the_archive_holds_the_library_with_its_data_and_no_bytecode(include: Path) -> None:
    names = zipfile.ZipFile(io.BytesIO(publish.archive(include))).namelist()
    assert names == [
        "adrank/__init__.py",
        "adrank/contracts/features.yaml",
        "spark/jobs/__init__.py",
        "spark/jobs/compute.py",
    ]


def test_the_same_sources_make_the_same_bytes(include: Path) -> None:
    first = publish.archive(include)
    (include / "spark" / "jobs" / "compute.py").touch()
    assert publish.archive(include) == first


def test_another_source_makes_other_bytes(include: Path) -> None:
    first = publish.archive(include)
    (include / "spark" / "jobs" / "compute.py").write_text("print(1)")
    assert publish.archive(include) != first


def test_this_checkouts_library_can_be_imported_from_its_archive() -> None:
    names = zipfile.ZipFile(io.BytesIO(publish.archive(ROOT / "include"))).namelist()
    assert {"adrank/__init__.py", "adrank/contracts/features.yaml"} <= set(names)
