"""A web page of the calls: `python -m analytics.dashboard --table DIR`."""
