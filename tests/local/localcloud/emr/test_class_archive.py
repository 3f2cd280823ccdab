"""Steps map Spark's classes from an archive, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.emr import class_archive
from localcloud.emr.class_archive import ClassArchiveError
from localcloud.emr.spark_submit import configuration
from localcloud.settings import LocalcloudSettings


def java_options(archive: Path | None) -> str:
    return configuration(LocalcloudSettings(spark_classes=archive))["spark.driver.extraJavaOptions"]


def test_a_step_maps_the_archive_if_it_is_there(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    assert java_options(archive) == java_options(None)
    archive.touch()
    assert java_options(archive) == f"{java_options(None)} -XX:SharedArchiveFile={archive}"


def test_a_failed_job_makes_no_archive_and_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "spark-submit"
    broken.write_text("#!/bin/sh\necho 'no memory left' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("LOCALCLOUD_PYTHON", str(tmp_path / "python"))
    with pytest.raises(ClassArchiveError, match=r"ended with 3: no memory left"):
        class_archive.make(tmp_path / "classes.jsa")
    assert not (tmp_path / "classes.jsa").exists()
