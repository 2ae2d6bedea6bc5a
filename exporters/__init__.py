"""The record: a finished span becomes a line of JSON, waits on disk and goes to Event Hubs.

EventHubSpanExporter (eventhub.py) ── record.py: the span as a record
                                   ├─ journal.py: a call in flight has a file of its own
                                   └─ spool.py ── segment.py, directory.py: records on disk until the hub has them
Sender (sender.py), in a thread    ── hub.py, batch.py, transfer.py: the client, events and frames
                                   ├─ delivery.py ── data_uris.py, oversize.py, blob.py: what is too large
                                   └─ adoption.py, parking.py, drain.py: what other processes left behind
"""
