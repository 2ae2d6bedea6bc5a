"""Sessions: WebSocket sessions. Frames pass as they come, both ways; each response within is a call of its own.

    client ──► Pipe ──────────────────────► upstream       the bytes of frames, unchanged
    client ◄────────────────────── Pipe ◄── upstream
               │ frames.py: messages, as far as they are read
               ▼
               operations/…_session.py: turns ── turns.py: a CLIENT span and a record for each

In comes the handshake of a client that the door let in; out go its session and, for each response, a finished call.

session.py      one session, from its handshake to its end
handshake.py    the handshake with a backend, the others if it refuses
pipe.py         bytes from one side to the other, and close frames of the proxy's own
frames.py       finds messages and the borders of frames in passing bytes (RFC 6455)
turns.py        turns of a session as calls
"""
