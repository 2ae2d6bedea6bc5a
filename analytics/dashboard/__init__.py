"""A page to look at the calls: `python -m analytics.dashboard --table DIR`."""
