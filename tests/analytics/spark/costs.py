"""Prices calls in Spark, and prints the cost of each as JSON.

    python costs.py CALLS RATES DEPLOYMENTS

CALLS is a Parquet file with the rows of the view `Calls`; the others are what `python -m analytics.prices` prints.
"""

import re
import sys
from pathlib import Path

from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
calls, rates, deployments = sys.argv[1:]
spark.read.parquet(calls).createOrReplaceTempView("Calls")
text = Path("analytics/spark/costs.sql").read_text()
for statement in re.findall(r"CREATE TEMPORARY VIEW .*", text):
    spark.sql(statement.replace("rates.csv", rates).replace("deployments.csv", deployments))
spark.sql(text.replace("VIEW Costs", "TEMPORARY VIEW Costs", 1))
for row in spark.table("Costs").select("id", "cost", "unpriced").toJSON().collect():
    print(row)
