"""The relay: one call, from an admitted request to its record.

An admitted request comes in; upstream's answer goes out to the client, each chunk sent before it is looked at, and the
finished CallSpan to the span processors, which make the record.

    Relay (relay.py) ── Exchange (exchange.py): one call, ended exactly once
                          ├─ Attempts (attempts.py) ── Backends (backends.py): asks one after the other
                          ├─ RelayedResponse (response.py) ── UsageEventFilter (usage_event.py): passes the answer on
                          └─ Cutoff (cutoff.py) ── OpenCalls (calls.py): what ends a call early
"""
