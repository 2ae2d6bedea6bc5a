"""What can go wrong between the proxy and upstream.

    UpstreamFault
    ├── Unreachable     no connection: unknown host, refused, timeout, untrusted certificate
    ├── Disconnected    the connection broke before the response was complete
    ├── NotHttp         the response is not HTTP/1.1
    └── NotDecodable    the body does not match its content-encoding

Callers see their messages, which name no host and no address.
"""


class UpstreamFault(Exception):
    """No response, or an incomplete one."""


class Unreachable(UpstreamFault):
    """No connection could be opened."""


class Disconnected(UpstreamFault):
    """The connection broke."""

    def __init__(self, stale: bool = False) -> None:
        """`stale`: it was reused, and broke immediately, before any byte of a response."""
        super().__init__("the connection broke")
        self.stale = stale


class NotHttp(UpstreamFault):
    """The response cannot be parsed."""

    def __init__(self) -> None:
        super().__init__("the response is not HTTP")


class NotDecodable(UpstreamFault):
    """The body cannot be decoded, which the proxy does only where the client must get it decoded."""

    def __init__(self) -> None:
        super().__init__("the body does not match its content-encoding")
