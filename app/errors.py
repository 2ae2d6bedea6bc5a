"""The errors the proxy itself answers. Which JSON tells them, each family of paths says (app/operations).

    ProxyError
    ├── Unauthorized        401  no or a wrong key
    │   └── InvalidToken         a bearer token that Entra ID did not give out for this proxy, or not for now
    ├── NotFound            404  a path that no family has, and that is not /health/
    │   └── DeploymentNotFound   no backend has it
    ├── MethodNotAllowed    405  a known operation called by another method
    ├── HeadTimeout         408  a head that did not come whole in time
    ├── HeadTooLarge        431  a head past its limit
    ├── NoWebSockets        426  a session where the server can serve none
    ├── RequestTimeout      408  a body that did not come whole within PROXY_MAX_SECONDS
    ├── BodyTooLarge        413  more than PROXY_MAX_REQUEST_BYTES
    ├── BadBody             400  no JSON object where the operation takes one
    ├── ShuttingDown        503  the process is about to end
    ├── IdentityUnavailable 503  a token that no key at hand can check, while Entra ID is away
    ├── UpstreamUnreachable 502  no connection, or one that broke before an answer
    └── UpstreamSilent      504  no answer within PROXY_MAX_SECONDS

The last two leave a span and a record; the others are refusals at the door.
"""


class ProxyError(Exception):
    """An answer of the proxy's own; `message` is shown to the caller and never holds a secret."""

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
