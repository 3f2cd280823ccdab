"""``python -m localcloud.emr.class_archive FILE``: Spark's classes, parsed and verified once for all steps here.

A step on little data spends most of its time in loading classes. The JVM can map them from an archive instead (class
data sharing); it is made by running a job that uses what steps use, and writing what was loaded when it ends. The JVM
ignores an archive that does not fit, because Java or Spark changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from localcloud.emr.spark_submit import configuration
from localcloud.settings import LocalcloudSettings

_JOB = Path(__file__).with_name("class_archive_job.py")


class ClassArchiveError(RuntimeError):
    """The job whose classes are archived failed."""


def make(archive: Path) -> None:
    """Write the archive, or raise :class:`ClassArchiveError` with the job's last words."""
    archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="class-archive-") as scratch:
        settings = LocalcloudSettings(lake_dir=Path(scratch) / "lake", state_dir=Path(scratch), work_dir=Path(scratch))
        settings.make_directories()
        options = configuration(settings)
        options["spark.driver.extraJavaOptions"] += (
            f" -XX:ArchiveClassesAtExit={archive} -Xlog:cds=off -Xlog:cds+dynamic=off"
        )
        conf = [part for key, value in options.items() for part in ("--conf", f"{key}={value}")]
        command = [str(settings.python.parent / "spark-submit"), *conf, str(_JOB), settings.bucket]
        environment = {**os.environ, "PYSPARK_PYTHON": str(settings.python)}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    if done.returncode or not archive.exists():
        raise ClassArchiveError(f"{_JOB.name} ended with {done.returncode}: {(done.stderr + done.stdout)[-3000:]}")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
