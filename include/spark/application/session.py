"""The Spark session of a step. Everything that depends on the cluster is the cluster's configuration, not ours."""

from __future__ import annotations

from typing import Final

from pyspark.sql import SparkSession

_SETTINGS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # A task for each of hundreds of folders costs more than looking into it.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "16",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


def session(name: str) -> SparkSession:
    """The running session, or a new one: ANSI SQL, and UTC whatever the node's clock says, in files too."""
    builder = SparkSession.builder.appName(name)
    # Where in our code each column came from: a dozen questions to the JVM a column, for a line in some error messages.
    return _configured(builder.config("spark.python.sql.dataFrameDebugging.enabled", "false").getOrCreate())


def beside(spark: SparkSession) -> SparkSession:
    """A session of the same application with views of its own, for work that runs side by side with others'."""
    return _configured(spark.newSession())


def _configured(spark: SparkSession) -> SparkSession:
    for name, value in _SETTINGS.items():
        spark.conf.set(name, value)
    return spark
