"""The record: a finished span becomes a line of JSON, waits on disk and goes to Event Hubs."""
