"""The errors of the service, with the shapes and messages that Azure uses."""

import math

from dev.azure_openai.shapes import Json, ServiceError, encode, invalid

_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
    "modify your prompt and retry. To learn more about our content filtering policies please read our "
    "documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)
_BUSY = "The server had an error while processing your request. Sorry about that!"
_OVERLOADED = (
    "The server is currently overloaded with other requests. Sorry about that! You can retry your request, "
    "or contact us through an Azure support request at: https://go.microsoft.com/fwlink/?linkid=2213926 if "
    "the error persists."
)


def model_failure() -> Json:
    """Return the error of a failed model, for a 500 and for an event within a stream."""
    return {"message": _BUSY, "type": "server_error", "param": None, "code": None}


def failure_event(_: int) -> bytes:
    """Return the event that ends a stream of completions when the model fails."""
    return b"data: " + encode({"error": model_failure()}) + b"\n\n"


def key_denied() -> ServiceError:
    message = (
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid "
        "key for an active subscription and use a correct regional API endpoint for your resource."
    )
    return ServiceError(401, {"error": {"code": "401", "message": message}}, at_edge=True)


def token_denied() -> ServiceError:
    message = (
        "Unauthorized. Access token is missing, invalid, audience is incorrect "
        "(https://cognitiveservices.azure.com), or have expired."
    )
    return ServiceError(401, {"error": {"code": "401", "message": message}}, at_edge=True)


def no_resource() -> ServiceError:
    return ServiceError(404, {"error": {"code": "404", "message": "Resource not found"}}, at_edge=True)


def no_deployment() -> ServiceError:
    """Return the 404 for an unknown deployment, which has no Content-Type."""
    message = (
        "The API deployment for this resource does not exist. If you created the deployment within the last "
        "5 minutes, please wait a moment and try again."
    )
    error = {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": message}
    return ServiceError(404, {"error": error}, at_edge=True, content_type="")


def prompt_filtered() -> ServiceError:
    finding = {
        "hate": {"filtered": True, "severity": "high"},
        "jailbreak": {"detected": False, "filtered": False},
        "self_harm": {"filtered": False, "severity": "safe"},
        "sexual": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": True, "severity": "medium"},
    }
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": finding}
    error = {"message": _FILTERED, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
    return ServiceError(400, {"error": error | {"innererror": inner}})


def simulated(status: int, retry_after_ms: int | None, api_version: str | None) -> ServiceError:
    """Return the service's error for a status, with retry-after if given."""
    match status:
        case 401:
            return key_denied()
        case 404:
            return no_deployment()
        case 408:
            error: Json = {"code": "Timeout", "message": "The operation was timeout."}
        case 429:
            return _rate_limited(2000 if retry_after_ms is None else retry_after_ms, api_version)
        case 503:
            error = model_failure() | {"message": _OVERLOADED}
        case _ if status < 500:
            return invalid("Refused, as simulated.", status=status)
        case _:
            error = model_failure()
    headers = {} if retry_after_ms is None else _retry_after(retry_after_ms)
    return ServiceError(status, {"error": error}, headers)


def _rate_limited(retry_after_ms: int, api_version: str | None) -> ServiceError:
    headers = _retry_after(retry_after_ms)
    message = (
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version "
        f"{api_version or 'v1'} have exceeded token rate limit of your current OpenAI S0 pricing tier. "
        f"Please retry after {headers['retry-after']} seconds. Please go here: "
        "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
    )
    headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}
    return ServiceError(429, {"error": {"code": "429", "message": message}}, headers)


def _retry_after(ms: int) -> dict[str, str]:
    return {"retry-after": str(math.ceil(ms / 1000)), "retry-after-ms": str(ms)}
