"""The answer: turns the bytes just sent to the client into facts of the call.

The relay passes chunks in after it has sent them; they fill in the call's Answer. Nothing here raises, sends or waits
for the network.

    AnswerReader (reader.py) ── decoding.py: content-encoding
                             ├─ sse.py: events ── repeats.py: events that need no parsing
                             └─ an operation's reader (app/operations)
    at the end of the call:     estimate.py: usage that upstream did not report
                                redact.py: PROXY_REDACT
"""
