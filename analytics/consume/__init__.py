"""From the hub into the table: `python -m analytics.consume --table DIR`."""
