"""A Structured Streaming job: from the hub's Kafka endpoint, or from Capture's files, to an hourly Parquet table.

    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.3.0 analytics/spark/job.py \
        --table abfss://container@account.dfs.core.windows.net/records --hub records
    spark-submit --packages org.apache.spark:spark-avro_2.13:4.3.0 analytics/spark/job.py \
        --table … --capture 'abfss://…/capture/namespace/hub/*/*/*/*/*/*/*.avro'

The connection string of the namespace is in AZURE_EVENTHUB_CONN_STR. Columns are those of the table in
analytics/README.md; rows.sql beside this file, made by `python -m analytics.engines`, lays them out. Repeats of an id
are dropped within the watermark. Of an interrupted and a finished record both stay, since a stream does not take back
what it wrote: calls.sql is the view that leaves the interrupted one out. What is no record goes to TABLE/_set_aside.

It needs nothing but pyspark, and no other file than the two beside it.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

ROWS: Final = Path(__file__).with_name("rows.sql")
WATERMARK: Final = "2 hours"
"""How much later than the newest event a repeat is still known for one."""
EVENTS: Final = "events"


def parsed(events: "DataFrame") -> "DataFrame":
    """Rows of the table from events of `body` (text) and `enqueued` (timestamp); `reason` says why one is no record."""
    return events.sparkSession.sql(ROWS.read_text(), events=events)


def once(rows: "DataFrame", watermark: str = WATERMARK) -> "DataFrame":
    """Records without repeats of an id, an interrupted one told apart from a finished one."""
    records = rows.where("reason = ''").withColumn("interrupted", rows["status"] == "interrupted")
    unique = records.withWatermark("enqueued", watermark).dropDuplicatesWithinWatermark(["id", "interrupted"])
    return unique.drop("interrupted", "reason", "body", "enqueued")


def aside(rows: "DataFrame") -> "DataFrame":
    """Events that are no records, with the reason."""
    return rows.where("reason != ''").select("reason", "enqueued", "body")


def start(events: "DataFrame", table: str, watermark: str = WATERMARK, at_once: bool = False) -> "list[StreamingQuery]":
    """Begin to write; with `at_once` to the end of what is there. Progress is kept under the table."""
    rows = parsed(events)
    trigger = {"availableNow": True} if at_once else {"processingTime": "1 minute"}
    good = once(rows, watermark).writeStream.format("parquet").partitionBy("day", "hour").option("path", table)
    bad = aside(rows).writeStream.format("json").option("path", f"{table}/_set_aside")
    return [
        query.option("checkpointLocation", f"{table}/_spark/{name}").outputMode("append").trigger(**trigger).start()
        for name, query in (("records", good), ("set_aside", bad))
    ]


def from_kafka(spark: "SparkSession", hub: str, conn_str: str) -> "DataFrame":
    """Events by the Kafka protocol, which Event Hubs speaks from its Standard tier on."""
    host = dict(part.partition("=")[::2] for part in conn_str.split(";"))["Endpoint"].removeprefix("sb://").strip("/")
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    login = f'{module} required username="$ConnectionString" password="{conn_str}";'
    options = {
        "kafka.bootstrap.servers": f"{host}:9093",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "PLAIN",
        "kafka.sasl.jaas.config": login,
        "subscribe": hub,
        "startingOffsets": "earliest",
        "failOnDataLoss": "false",  # what has expired is gone, and no reason to stop
    }
    events = spark.readStream.format("kafka").options(**options).load()
    return events.selectExpr("CAST(value AS STRING) AS body", "timestamp AS enqueued")


def from_capture(spark: "SparkSession", files: str) -> "DataFrame":
    """Events of the Avro files that Event Hubs Capture writes."""
    schema = "SequenceNumber BIGINT, Offset STRING, EnqueuedTimeUtc STRING, Body BINARY"
    events = spark.readStream.format("avro").schema(schema).load(files)
    moment = "to_timestamp(EnqueuedTimeUtc, 'M/d/yyyy h:mm:ss a')"  # such as 11/13/2024 6:59:30 AM
    return events.selectExpr("CAST(Body AS STRING) AS body", f"{moment} AS enqueued")


def main() -> None:
    """Run until stopped."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser(description="The hub's records into a table, by Spark.")
    parser.add_argument("--table", required=True)
    parser.add_argument("--hub", default=os.environ.get("AZURE_EVENTHUB_NAME"), help="its name")
    parser.add_argument("--capture", help="read these files instead, to their end")
    parser.add_argument("--watermark", default=WATERMARK)
    options = parser.parse_args()
    spark = SparkSession.builder.appName("records").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    if options.capture:
        events = from_capture(spark, options.capture)
    else:
        events = from_kafka(spark, options.hub, os.environ["AZURE_EVENTHUB_CONN_STR"])
    for query in start(events, options.table, options.watermark, at_once=bool(options.capture)):
        query.awaitTermination()


if __name__ == "__main__":
    main()
