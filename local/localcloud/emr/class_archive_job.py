"""Does a little of all that steps do, so that the classes they need get loaded."""

from __future__ import annotations

import json
import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812


def main(bucket: str) -> None:
    """Write, read, join, aggregate, number, digest; as Parquet, JSON, text and Arrow."""
    spark = SparkSession.builder.getOrCreate()
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    root = f"s3://{bucket}/raw/"
    rows = spark.range(2000).select(
        F.concat(F.lit("entity-"), F.pmod("id", F.lit(97))).alias("entity_id"),
        F.timestamp_seconds(F.col("id") * 60).alias("event_time"),
        F.col("id").cast("double").alias("revenue"),
        F.map_from_arrays(F.array(F.lit("slot")), F.array(F.col("id").cast("double"))).alias("context"),
        F.date_format(F.timestamp_seconds(F.col("id") * 60), "HH").alias("hr"),
    )
    written = rows.repartition("hr").sortWithinPartitions("hr", "entity_id")
    written.write.mode("overwrite").option("partitionOverwriteMode", "dynamic").partitionBy("hr").parquet(f"{root}a")
    spark.read.parquet(f"{root}a").createOrReplaceTempView("events")
    spark.sql("SELECT * FROM VALUES (1L, 'x'), (2L, 'y') AS known(hour_no, name)").createOrReplaceTempView("known")
    counted = spark.sql(
        """
        WITH tiles AS (
            SELECT entity_id, unix_timestamp(event_time) DIV 3600 AS hour_no, count_if(revenue > 3) AS some,
                count(DISTINCT hr) AS hours, sum(CAST(round(revenue * 1000000) AS BIGINT)) AS micros,
                min(struct(event_time, revenue)) AS earliest
            FROM events WHERE entity_id IS NOT NULL GROUP BY ALL
        ),
        named AS (SELECT * FROM tiles LEFT JOIN known USING (hour_no))
        SELECT *, try_divide(some, hours) AS rate, explode(sequence(hour_no, hour_no + 1)) AS each,
            avg(CAST(micros AS DECIMAL(28, 10))) OVER (PARTITION BY hour_no) AS mean
        FROM named
        """
    ).persist()
    so_far = Window.partitionBy("entity_id").orderBy("each").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    numbered = counted.withColumn("total", F.sum("some").over(so_far)).withColumn(
        "next", F.lead("each").over(Window.partitionBy("entity_id").orderBy("each"))
    )
    row = F.sha2(F.concat_ws("|", "entity_id", F.coalesce(F.col("total").cast("string"), F.lit("null"))), 256)
    numbered.groupBy("hour_no").agg(F.sha2(F.array_join(F.array_sort(F.collect_list(row)), ""), 256)).collect()
    numbered.select("entity_id", "total", "each").where("next IS NULL").toPandas()
    texts = spark.createDataFrame([(json.dumps({"op": "r", "after": {"ad_id": "a", "price": 1.5}}),)], "value string")
    texts.write.mode("overwrite").text(f"{root}b")
    documents = spark.read.text(f"{root}b").select(
        F.col("_metadata.file_path"), F.parse_json("value").alias("document")
    )
    documents.groupBy("file_path").agg(F.schema_of_variant_agg("document")).collect()
    spark.read.schema("op string, after struct<ad_id string, price double>").json(f"{root}b").count()
    rows.mapInArrow(lambda batches: batches, rows.schema).count()
    rows.rdd.mapPartitions(lambda part: [sum(1 for _ in part)]).collect()


if __name__ == "__main__":
    main(sys.argv[1])
