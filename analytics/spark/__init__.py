"""The table written by Spark, for hubs that one machine cannot read fast enough."""
