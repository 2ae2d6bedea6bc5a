"""`python -m app.doctor URL`: checks a deployment from end to end through the openai SDK, as a client would use it.

It makes two short calls, one of them streamed, reports each step, and exits with 0 if everything works and 1 if not.
With a connection string for the hub that may listen, it waits for the records of its two calls and compares them with
what it received. It needs the openai package, which the proxy itself does not.
"""
