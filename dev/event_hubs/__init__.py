"""A broker that stands in for Azure Event Hubs: `python -m dev.event_hubs`."""
