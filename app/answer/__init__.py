"""The answer: bytes that were just sent to the client become facts of the call.

Chunks come in from the relay after they were sent; the call's Answer is filled in. Nothing here raises, sends or waits
for the network.

    AnswerReader (reader.py) ── decoding.py: content-encoding
                             ├─ sse.py: events ── repeats.py: events that need no parsing
                             └─ an operation's reader (app/operations)
    at the end of the call:     estimate.py: usage that upstream did not report
                                redact.py: PROXY_REDACT
"""
