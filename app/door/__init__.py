"""The door: who may call, and which requests are admitted.

An ASGI request comes in; an `Admitted` request and its `Inbound` body go out to the relay, or a ProxyError that refuses
it. Nothing has been sent upstream yet.

    connection.py  what a connection may not do to a call: upgrades, trailers, endless heads
    head.py        what a head must tell before its request may begin
    door.py        path, method, api-version, caller; counts refusals
    auth.py        client keys, or a token ── entra.py   Entra ID tokens and the keys that sign them
    body.py        the body, whole or in pieces, and the wait for a client disconnect
    form.py        the small fields of a form, read as it passes
    inbound.py     the facts of the request, read from the body, and a body that asks for usage
"""
