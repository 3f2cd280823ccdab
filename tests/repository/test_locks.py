"""The images' lock files agree with the one environment that everything is tested in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = sorted(
    path.with_suffix(".txt") for path in [ROOT / "requirements.in", *(ROOT / "include").glob("*/requirements.in")]
)


def pins(text: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def disagreements(tested: dict[str, str], image: dict[str, str]) -> list[str]:
    return [
        f"{name} {version}, tested is {tested.get(name, 'none')}"
        for name, version in image.items()
        if tested.get(name) != version
    ]


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    return pins((ROOT / "requirements-dev.txt").read_text())


@pytest.mark.parametrize("lock", IMAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_image_holds_the_versions_that_are_tested(lock: Path, tested: dict[str, str]) -> None:
    image = pins(lock.read_text())
    assert len(image) > 5
    assert disagreements(tested, image) == []


@pytest.mark.parametrize("lock", IMAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_image_locks_all_that_it_asks_for(lock: Path) -> None:
    asked = re.findall(r"^([A-Za-z0-9._-]+)", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert asked
    assert {name.lower() for name in asked} <= pins(lock.read_text()).keys()


def test_another_version_or_package_is_found() -> None:
    assert disagreements({"numpy": "2.0"}, {"numpy": "2.1", "left-pad": "1.0"}) == [
        "numpy 2.1, tested is 2.0",
        "left-pad 1.0, tested is none",
    ]


def test_pyspark_and_its_client_share_one_package_folder_so_one_version(tested: dict[str, str]) -> None:
    assert tested["pyspark"] == tested["pyspark-client"]
    image = pins((ROOT / "requirements.txt").read_text())
    assert image["pyspark"] == image["pyspark-client"]


def test_the_serving_image_needs_neither_airflow_nor_spark_nor_mlflow() -> None:
    image = pins((ROOT / "include" / "serving" / "requirements.txt").read_text())
    assert not {name for name in image if name.startswith(("apache-airflow", "pyspark", "mlflow"))}
