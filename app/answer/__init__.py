"""The answer: turns the bytes just sent to the client into facts of the call.

The relay passes chunks in after it has sent them; they fill in the call's Answer. Nothing here raises, sends or waits
for the network.

    AnswerReader (reader.py) ── events.py: a stream ── sse.py: its events ── repeats.py: those that need no parsing
                             ├─ whole.py: one JSON text
                             └─ failures.py: errors; redirects, HTML pages and other unexpected responses
    at the end of the call:     estimate.py: usage that upstream did not report
                                redact.py: PROXY_REDACT
"""
