"""The Spark session of a step. Everything that depends on the cluster is the cluster's configuration, not ours."""

from __future__ import annotations

from pyspark.sql import SparkSession


def session(name: str) -> SparkSession:
    """The running session, or a new one; times are UTC whatever the node's clock says."""
    spark = SparkSession.builder.appName(name).getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark
