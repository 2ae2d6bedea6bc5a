"""Runs the job's transformation in Spark over a stream of files, and prints the rows as JSON.

    python run.py EVENTS TABLE

EVENTS is a folder of files with one event per line: its base64 body and enqueued time.
"""

import json
import sys

from pyspark.sql import SparkSession

from analytics.spark.job import start

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
events, table = sys.argv[1:]
lines = spark.readStream.schema("body STRING, enqueued STRING").option("maxFilesPerTrigger", 1).json(events)
stream = lines.selectExpr("CAST(unbase64(body) AS STRING) AS body", "to_timestamp(enqueued) AS enqueued")
for query in start(stream, table, drain=True):
    query.awaitTermination()
records = spark.read.parquet(table)
records.createOrReplaceTempView("records")
view = open("analytics/spark/calls.sql").read().replace("VIEW", "TEMPORARY VIEW", 1)  # noqa: SIM115
spark.sql(view)
print(json.dumps({"columns": records.columns, "types": dict(records.dtypes)}))
for row in spark.table("Calls").toJSON().collect():
    print(row)
