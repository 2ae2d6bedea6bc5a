"""The relay: one call, from an admitted request to its record.

An admitted request comes in. Upstream's response goes out to the client, each chunk sent before it is read; the
finished CallSpan goes to the span processors, which make the record.

    Relay (relay.py) ── Exchange (exchange.py): one call, ended exactly once
                          ├─ Attempts (attempts.py) ── Backends (backends.py), Held (held.py): tries one after the other
                          ├─ StoredCall (stored.py): on which backend a stored object is
                          ├─ RelayedResponse (response.py): relays the response
                          │    └─ UsageEventFilter (usage_event.py, usage_null.py): removes requested usage
                          └─ Cutoff (cutoff.py) ── OpenCalls (calls.py): ends a call early
"""
