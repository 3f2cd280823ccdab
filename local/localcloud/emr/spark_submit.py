"""Turns an EMR step's ``spark-submit`` line into one that runs on this machine.

``s3://`` reaches the lake directory through Hadoop's ViewFileSystem, without any S3 jar. Code named by ``s3://`` (the
application, ``--py-files``, ``--jars``, ``--files``) is fetched into the step's directory, as EMR fetches it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcloud.settings import LocalcloudSettings
from localcloud.storage.lake_directory import LakeDirectory, LakeError

_FETCHED: Final = ("--py-files", "--jars", "--files")
_CLUSTER: Final = ("--master", "--deploy-mode")
_FLAGS: Final = ("--verbose", "-v", "--supervise")
_RAW: Final = "org.apache.hadoop.fs.RawLocalFileSystem"


class StepError(RuntimeError):
    """A step that cannot be started; the message is what EMR would give as its reason."""


@dataclass(frozen=True)
class SparkSubmit:
    """A parsed command line: options in order, the application, its arguments."""

    options: tuple[tuple[str, str | None], ...]
    application: str
    arguments: tuple[str, ...]


def parse(words: Sequence[str]) -> SparkSubmit:
    """Parse the words after ``spark-submit``."""
    options: list[tuple[str, str | None]] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return SparkSubmit(tuple(options), word, tuple(rest))
        name, equals, value = word.partition("=")
        if name in _FLAGS:
            options.append((name, None))
        elif equals:
            options.append((name, value))
        else:
            options.append((word, next(rest, None)))
    raise StepError("spark-submit names no application")


def configuration(settings: LocalcloudSettings) -> dict[str, str]:
    """Spark's settings on this machine; a step's own ``--conf`` wins over them."""
    bucket = settings.lake_dir / settings.bucket
    shared = settings.spark_classes is not None and settings.spark_classes.exists()
    archive = f" -XX:SharedArchiveFile={settings.spark_classes}" if shared else ""
    viewfs = f"spark.hadoop.fs.viewfs.mounttable.{settings.bucket}.link./"
    return {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": settings.spark_java_options + archive,
        "spark.driver.host": settings.host,
        "spark.driver.bindAddress": settings.host,
        "spark.ui.enabled": "false",
        "spark.log.level": "WARN",
        "spark.sql.shuffle.partitions": str(settings.spark_shuffle_partitions),
        # Planning again after each shuffle costs more than the shuffle of a few thousand rows.
        "spark.sql.adaptive.enabled": "false",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": _RAW,
        "spark.hadoop.fs.file.impl": _RAW,
        **{f"{viewfs}{prefix}": (bucket / prefix).as_uri() for prefix in settings.prefixes},
    }


def write_defaults(settings: LocalcloudSettings, directory: Path) -> None:
    """Write ``spark-defaults.conf`` for the ``SPARK_CONF_DIR`` of who submits by himself and names the master."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = (f"{key} {value}" for key, value in configuration(settings).items() if key != "spark.master")
    (directory / "spark-defaults.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def localize(words: Sequence[str], settings: LocalcloudSettings, directory: Path) -> list[str]:
    """The command that runs here; code is fetched into ``directory``. Raises :class:`StepError`."""
    submitted = parse(words)
    lake = LakeDirectory(settings.lake_dir)
    command = [str(settings.python.parent / "spark-submit")]
    for key, option in configuration(settings).items():
        command += ["--conf", f"{key}={option}"]
    for name, value in submitted.options:
        if name in _CLUSTER:
            continue
        command.append(name)
        if value is not None:
            command.append(",".join(_fetched(value, lake, directory)) if name in _FETCHED else value)
    application = next(_fetched(submitted.application, lake, directory))
    return [*command, application, *submitted.arguments]


def _fetched(locations: str, lake: LakeDirectory, directory: Path) -> Iterator[str]:
    for location in locations.split(","):
        if not location.startswith("s3"):
            yield location
            continue
        try:
            yield str(lake.download(location, directory / "code" / location.rsplit("/", 1)[-1]))
        except LakeError as error:
            raise StepError(f"File does not exist: {location}") from error
