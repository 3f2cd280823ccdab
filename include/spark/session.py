"""The Spark session of a step. Everything that depends on the cluster is the cluster's configuration, not ours."""

from __future__ import annotations

from pyspark.sql import SparkSession


def session(name: str) -> SparkSession:
    """The running session, or a new one: ANSI SQL, and UTC whatever the node's clock says, in files too."""
    builder = SparkSession.builder.appName(name)
    # Where in our code each column came from: a dozen questions to the JVM a column, for a line in some error messages.
    spark = builder.config("spark.python.sql.dataFrameDebugging.enabled", "false").getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.ansi.enabled", "true")
    # A task for each of hundreds of folders costs more than looking into it.
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", "16")
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    return spark
