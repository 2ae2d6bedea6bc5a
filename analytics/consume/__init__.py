"""The consumer: from the hub to the table, `python -m analytics.consume --table DIR`."""
