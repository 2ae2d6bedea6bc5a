"""What can go wrong between here and upstream.

    UpstreamFault
    ├── Unreachable     no connection: no such host, refused, no answer in time, a certificate that is not trusted
    ├── Disconnected    the connection broke before the answer was whole
    └── NotHttp         what came is no HTTP/1.1

Their texts are shown to callers, and name no host and no address.
"""


class UpstreamFault(Exception):
    """No answer, or no whole one."""


class Unreachable(UpstreamFault):
    """There is no connection."""


class Disconnected(UpstreamFault):
    """The connection broke."""

    def __init__(self, stale: bool = False) -> None:
        """`stale`: it was kept from an earlier request, and broke at once, before any byte of an answer."""
        super().__init__("the connection broke")
        self.stale = stale


class NotHttp(UpstreamFault):
    """What came cannot be read."""

    def __init__(self) -> None:
        super().__init__("what answered there speaks no HTTP")
