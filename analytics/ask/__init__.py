"""Prepared queries over the table: `python -m analytics.ask --list`."""
