"""Questions to the table: `python -m analytics.ask --list`."""
