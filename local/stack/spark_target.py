"""The Spark that a backfill may submit to instead of EMR: this machine's, with localcloud's way to ``s3://``."""

from __future__ import annotations

from pathlib import Path

from localcloud.emr import spark_submit
from localcloud.settings import Config


def configure(config: Config, directory: Path) -> None:
    """Write ``spark-defaults.conf`` for ``SPARK_CONF_DIR``. The master is the Airflow connection's."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = (f"{key} {value}" for key, value in spark_submit.configuration(config).items() if key != "spark.master")
    (directory / "spark-defaults.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
