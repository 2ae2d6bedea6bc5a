"""Simulator: authenticates a request, finds its operation, and responds or fails as the simulation says."""

import re
from collections.abc import Callable, Mapping

from aiohttp import web

from dev.azure_openai.chat import chat_completions
from dev.azure_openai.completions import completions
from dev.azure_openai.embeddings import embeddings
from dev.azure_openai.errors import key_denied, no_deployment, no_resource, simulated, token_denied
from dev.azure_openai.headers import edge_headers, model_headers
from dev.azure_openai.journal import Journal
from dev.azure_openai.media import images_generations, speech, transcriptions
from dev.azure_openai.model_request import ModelRequest, is_api_version
from dev.azure_openai.models import models
from dev.azure_openai.responses import responses
from dev.azure_openai.shapes import Reply, ServiceError, invalid
from dev.azure_openai.simulation import Simulation, UnknownWord
from dev.azure_openai.transport import Transport

MISSING_DEPLOYMENT = "missing"
_MAX_REQUEST_BYTES = 256 << 20
_PATH = re.compile(r"/openai/(?:(?P<v1>v1)/|deployments/(?P<deployment>[^/]+)/)?(?P<operation>[a-z]+(?:/[a-z]+)?)")
_WITHOUT_DEPLOYMENT = ("responses", "models")
_OPERATIONS: Mapping[tuple[str, str], Callable[[ModelRequest], Reply]] = {
    ("POST", "chat/completions"): chat_completions,
    ("POST", "completions"): completions,
    ("POST", "embeddings"): embeddings,
    ("POST", "images/generations"): images_generations,
    ("POST", "audio/transcriptions"): transcriptions,
    ("POST", "audio/speech"): speech,
    ("POST", "responses"): responses,
    ("GET", "models"): models,
}


class Simulator:
    """The service. `key` is what callers must send, if anything; `defaults` are for what a request leaves open."""

    def __init__(self, defaults: Simulation, key: str | None) -> None:
        self._defaults = defaults
        self._key = key
        self._journal = Journal()

    def app(self) -> web.Application:
        """Return the application: the service under every path except those of the journal."""
        app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        app.add_routes(self._journal.routes())
        app.router.add_route("*", "/{path:.*}", self._respond)
        app.on_response_prepare.append(_strip_headers)
        return app

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        progress = self._journal.add(request, body)
        words = self._journal.next_fault() or request.headers.get("x-simulate") or ""
        try:
            simulation = self._defaults.with_words(words)
        except UnknownWord as word:
            raise web.HTTPBadRequest(text=f"unknown word in x-simulate: {word}") from word
        transport = Transport(request, simulation, progress)
        edge = headers = edge_headers(simulation.region)
        try:
            self._authenticate(request)
            model_request = _parse(request, body, simulation)
            await transport.delay()
            if model_request.deployment == MISSING_DEPLOYMENT:
                raise no_deployment()
            headers = edge | model_headers(model_request, request.headers.get("x-ms-client-request-id"))
            if simulation.status:
                raise simulated(simulation.status, simulation.retry_after_ms, model_request.api_version)
            reply = _reply(request.method, model_request)
        except ServiceError as error:
            return transport.refuse(error, (edge if error.at_edge else headers) | dict(error.headers))
        return await transport.send(reply, headers)

    def _authenticate(self, request: web.Request) -> None:
        """Check the caller's key, sent as `api-key` or as a bearer token. Raises ServiceError."""
        bearer = request.headers.get("Authorization", "")
        if self._key is None or request.headers.get("api-key") == self._key or bearer == f"Bearer {self._key}":
            return
        raise token_denied() if bearer and "api-key" not in request.headers else key_denied()


def _parse(request: web.Request, body: bytes, simulation: Simulation) -> ModelRequest:
    """Parse a request. Raises ServiceError for an unknown path or a missing api-version."""
    path = _PATH.fullmatch(request.path)
    if path is None or (request.method, path["operation"]) not in _OPERATIONS:
        raise no_resource()
    api_version = None if path["v1"] else request.query.get("api-version", "")
    if api_version is not None and not is_api_version(api_version):
        raise no_resource()
    names_deployment = path["deployment"] is not None
    if not path["v1"] and names_deployment == (path["operation"] in _WITHOUT_DEPLOYMENT):
        raise no_resource()
    content_type = request.headers.get("Content-Type", "")
    return ModelRequest(path["operation"], path["deployment"], api_version, content_type, body, simulation)


def _reply(method: str, model_request: ModelRequest) -> Reply:
    try:
        return _OPERATIONS[method, model_request.operation](model_request)
    except (AttributeError, LookupError, TypeError, ValueError) as fault:
        # The operations assume well-formed bodies; a malformed one ends here.
        raise invalid(f"Invalid request body: {fault!r}") from fault


async def _strip_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Remove what aiohttp adds and the service does not send: Server, and Content-Type where it is empty."""
    response.headers.popall("Server", None)
    if not response.headers.get("Content-Type"):
        response.headers.popall("Content-Type", None)
