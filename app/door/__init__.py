"""The door: who may call, and what is let in.

An ASGI request comes in; an `Admitted` request and its `Inbound` body go out to the relay, or a ProxyError that refuses
it. Nothing has been sent upstream by then.

    door.py      path, method, api-version, caller; counts refusals
    auth.py      client keys, or a token ── entra.py   tokens of Entra ID and the keys they are signed with
    body.py      the body, whole or in pieces, and word of a client that leaves
    inbound.py   what the body says: the facts of the request, and the body that asks for usage
"""
