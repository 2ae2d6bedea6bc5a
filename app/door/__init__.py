"""The door: who may call, and which requests are admitted.

An ASGI request comes in; an `Admitted` request and its `Inbound` body go out to the relay, or a ProxyError that refuses
it. Nothing has been sent upstream yet.

    door.py      path, method, api-version, caller; counts refusals
    auth.py      client keys, or a token ── entra.py   Entra ID tokens and the keys that sign them
    body.py      the body, whole or in pieces, and the wait for a client disconnect
    inbound.py   what the body says: the facts of the request, and a body that asks for usage
"""
