"""The table by Spark, for hubs that one machine does not read fast enough."""
