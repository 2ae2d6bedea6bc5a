"""`python -m app.doctor URL`: checks a deployment from end to end through the openai SDK, as a client would use it.

It makes two short calls, one of them streamed, says of each step what an operator should know, and ends with 0 if all
is well and with 1 if not. With a connection string for the hub (it must be allowed to listen) it waits for the records
of its two calls and compares them with what it saw. It needs the openai package, which the proxy itself does not.
"""
