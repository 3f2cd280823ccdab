"""Partitions of Parquet files in the lake: written whole under their own names, and listed for a manifest."""

from __future__ import annotations

from pyspark.sql import DataFrame

from spark.lake.files import LakeFiles


def overwrite(frame: DataFrame, files: LakeFiles, prefix: str, *keys: str) -> None:
    """Write a frame under ``prefix``, partitioned by the columns ``keys``; other partitions stay as they are.

    A dynamic overwrite stages under a name of its own. An append would share ``_temporary`` with every other step that
    writes there, and its commit would take in what a killed one had left.
    """
    (
        frame.write.mode("overwrite")
        .option("partitionOverwriteMode", "dynamic")
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .partitionBy(*keys)
        .parquet(files.uri(prefix))
    )


def data_files(files: LakeFiles, folder: str) -> tuple[str, ...]:
    """Names of the Parquet files in a folder, sorted; none where there is no such folder."""
    return tuple(name for name in files.names(folder) if name.endswith(".parquet"))


def withdraw(files: LakeFiles, manifest: str, folder: str) -> None:
    """Delete a partition, its manifest first, so that nobody reads half of it."""
    files.delete(manifest)
    files.delete(folder.rstrip("/"))
