"""``spark-submit`` lines as they run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.emr import spark_submit
from localcloud.settings import LocalcloudSettings


def test_a_spark_line_keeps_options_and_arguments_but_not_the_cluster_manager(tmp_path: Path) -> None:
    config = LocalcloudSettings(
        lake_dir=tmp_path / "lake", state_dir=tmp_path, work_dir=tmp_path, python=Path("/venv/bin/python")
    )
    config.make_directories()
    (config.lake_dir / config.bucket / "code/job.py").write_text("pass")
    line = "--master yarn --deploy-mode=cluster --conf a=b --verbose s3://adrank-lake/code/job.py --master x"

    command = spark_submit.localize(line.split(), config, tmp_path / "step")

    assert command[0] == "/venv/bin/spark-submit"
    assert "yarn" not in command
    assert "spark.master=local[2]" in command
    raw = (config.lake_dir / "adrank-lake/raw").as_uri()
    assert f"spark.hadoop.fs.viewfs.mounttable.adrank-lake.link./raw={raw}" in command
    assert command[-6:] == ["--conf", "a=b", "--verbose", str(tmp_path / "step/code/job.py"), "--master", "x"]


def test_a_spark_line_without_an_application_is_refused(tmp_path: Path) -> None:
    with pytest.raises(spark_submit.StepError, match="names no application"):
        spark_submit.localize(["--conf", "a=b"], LocalcloudSettings(lake_dir=tmp_path), tmp_path)


def test_who_submits_by_himself_gets_the_same_settings_but_the_master(tmp_path: Path) -> None:
    settings = LocalcloudSettings(lake_dir=tmp_path / "lake")
    spark_submit.write_defaults(settings, tmp_path / "conf")
    written = dict(line.split(" ", 1) for line in (tmp_path / "conf/spark-defaults.conf").read_text().splitlines())
    assert {"spark.master": settings.spark_master, **written} == spark_submit.configuration(settings)
    assert "spark.master" not in written
