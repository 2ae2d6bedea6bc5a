"""The proxy's own error responses. Each family of paths has its JSON shape for them (app/operations).

    ProxyError
    ├── Unauthorized        401  no key or a wrong one
    │   └── InvalidToken         a bearer token that Entra ID did not issue for this proxy, or one that is not valid now
    ├── NotFound            404  a path outside every family and /health/
    │   └── DeploymentNotFound   no backend serves it
    ├── MethodNotAllowed    405  a method that the operation does not allow
    ├── HeadTimeout         408  an incomplete head after 20 s
    ├── HeadTooLarge        431  a head over its limit
    ├── BadHead             400  a head that servers could read in different ways
    ├── UnknownCoding       501  a transfer-encoding other than chunked
    ├── NoWebSockets        426  a WebSocket session where none is served
    ├── RequestTimeout      408  an incomplete body after PROXY_MAX_SECONDS
    ├── BodyTooLarge        413  more than PROXY_MAX_REQUEST_BYTES
    ├── BadBody             400  not a JSON object where the operation takes one
    ├── ShuttingDown        503  the process is shutting down
    ├── IdentityUnavailable 503  a token with an unknown key while Entra ID is unreachable
    ├── UpstreamUnreachable 502  no connection, or one that broke before a response
    └── UpstreamSilent      504  no response within PROXY_MAX_SECONDS

The last two leave a span and a record; the others are refusals at the door.
"""


class ProxyError(Exception):
    """An error response of the proxy itself; the caller sees `message`, which never contains a secret."""

    status = 500
    type = "proxy_error"
    code = "proxy_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Unauthorized(ProxyError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class InvalidToken(Unauthorized):
    code = "invalid_token"


class NotFound(ProxyError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class DeploymentNotFound(NotFound):
    code = "DeploymentNotFound"


class MethodNotAllowed(ProxyError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(ProxyError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class HeadTimeout(RequestTimeout):
    pass


class HeadTooLarge(ProxyError):
    status = 431
    type = "invalid_request_error"
    code = "request_header_fields_too_large"


class BadHead(ProxyError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_head"


class UnknownCoding(ProxyError):
    status = 501
    type = "invalid_request_error"
    code = "unknown_transfer_encoding"


class NoWebSockets(ProxyError):
    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"


class BodyTooLarge(ProxyError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class BadBody(ProxyError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_body"


class ShuttingDown(ProxyError):
    status = 503
    type = "server_error"
    code = "shutting_down"


class IdentityUnavailable(ProxyError):
    status = 503
    type = "server_error"
    code = "identity_unavailable"


class UpstreamUnreachable(ProxyError):
    status = 502
    type = "upstream_error"
    code = "upstream_unreachable"


class UpstreamSilent(ProxyError):
    status = 504
    type = "upstream_error"
    code = "upstream_timeout"
