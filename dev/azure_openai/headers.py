"""The response headers that the gateway and the model's server set."""

import uuid

from dev.azure_openai.model_request import ModelRequest

_SESSION = "d20260214093000-3c9a51e07f42"
_REQUEST_LIMIT = 1_000
_TOKEN_LIMIT = 1_000_000


def edge_headers(region: str) -> dict[str, str]:
    """Return the headers of every response; a 401 or 404 has no others. An empty region omits its header."""
    headers = {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "apim-request-id": str(uuid.uuid4()),
        "x-content-type-options": "nosniff",
    }
    return headers | ({"x-ms-region": region} if region else {})


def model_headers(request: ModelRequest, client_request_id: str | None) -> dict[str, str]:
    """Return what the model's server adds. Rate limits are those of the first call in a minute.

    Raises ServiceError if the request cannot be read.
    """
    headers = {"x-request-id": str(uuid.uuid4())}
    if client_request_id:
        headers["x-ms-client-request-id"] = client_request_id
    if request.operation == "models":
        return headers
    if request.operation == "responses":
        headers["azureai-fe-is-streaming"] = str(request.streams)
    tokens = min(len(request.raw) // 4, _TOKEN_LIMIT)
    return headers | {
        "azureml-model-session": _SESSION,
        "skip-error-remapping": "true",
        "x-accel-buffering": "no",
        "x-ms-deployment-name": request.deployment,
        "x-ms-is-spilled-over": str(request.simulation.spilled_over).lower(),
        "x-ms-rai-invoked": "true",
        "x-ratelimit-abusepenalty-active": "False",
        "x-ratelimit-limit-requests": str(_REQUEST_LIMIT),
        "x-ratelimit-limit-tokens": str(_TOKEN_LIMIT),
        "x-ratelimit-remaining-requests": str(_REQUEST_LIMIT - 1),
        "x-ratelimit-remaining-tokens": str(_TOKEN_LIMIT - tokens),
        "x-ratelimit-renewalperiod-requests": "60",
        "x-ratelimit-renewalperiod-tokens": "60",
        "x-ratelimit-reset-requests": "500",
        "x-ratelimit-reset-tokens": str(tokens * 60_000 // _TOKEN_LIMIT),
    }
