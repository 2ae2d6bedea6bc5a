"""create_app: the only place where the parts are built and joined."""

import gc
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from fastapi import FastAPI, Request
from opentelemetry import context
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.fastapi.version import __version__ as instrumentation_version
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.attempts import Attempts, UsageRefusals
from app.auth import Access, ClientKeys, EntraAuth, KeyAuth, UpstreamAuth
from app.backends import Backend, Backends
from app.calls import OpenCalls
from app.door import Door
from app.entra import EntraTokens
from app.errors import MethodNotAllowed, NotFound
from app.estimate import Estimator
from app.headers import without_secrets
from app.health import Delivery, Readiness, health_router
from app.inbound import InboundReader, Sticky
from app.lifecycle import Lifecycle
from app.redact import Redactor
from app.relay import Relay, current_trace_id
from app.server_spans import ServerSpans
from app.settings import HubSettings, Settings
from app.settings_backends import BackendSettings
from app.settings_telemetry import TelemetrySettings
from app.upstream import Pool
from exporters.adoption import adopt
from exporters.blob import BlobAddress
from exporters.directory import OwnDirectory
from exporters.eventhub import EventHubSpanExporter
from exporters.hub import Hub
from exporters.journal import Journal
from exporters.losses import Losses
from exporters.sender import Sender
from exporters.spool import Spool
from otel import logs
from otel.attributes import SCOPE
from otel.metrics import ProxyCounts
from otel.processor import RecordProcessor
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.telemetry import Credential, Destinations, Telemetry


class ProxyApp(FastAPI):
    """FastAPI with duties at the very door, before anything else sees a request, and a short way to the calls.

    A key in the query string (`code` of the Functions host, `subscription-key` of API Management) is taken out, so
    that neither spans nor logs nor upstream can show it. And uvicorn's own `date` and `server` headers are left off:
    it puts them before those of the answer, where upstream's would then stand a second time.

    Calls go straight to `calls`: FastAPI's own layers and its router would do nothing for them but take their time.
    """

    calls: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["query_string"] = without_secrets(scope["query_string"])
        server = getattr(receive, "__self__", None)  # `send` is wrapped by the Functions extension
        if getattr(server, "default_headers", None):
            server.default_headers = []  # type: ignore[union-attr]
        if scope["path"].startswith("/openai/"):
            await self.calls(scope, receive, send)
            return
        # a pipelined request is begun within the one before it, and would become a part of that one's trace
        token = context.attach(context.Context())
        try:
            await super().__call__(scope, receive, send)
        finally:
            context.detach(token)


def create_app(settings: Settings | None = None, span_processors: Sequence[SpanProcessor] = ()) -> ProxyApp:
    """The proxy as an ASGI application, set up by `settings` or else by the environment.

    In the latter case the process is taken to be the proxy's own, and its log is set up too. `span_processors` see
    every span beside the proxy's own. Raises SettingsError for an environment that cannot be used. Nothing is opened
    before the lifespan starts.
    """
    own_process = settings is None
    if settings is None:
        settings = Settings.from_environ(os.environ)
        logs.set_up()
    losses, calls, credentials = Losses(), OpenCalls(), _Credentials()
    directory = OwnDirectory(settings.spool_dir)
    spool, journal = Spool(directory, settings.spool_max_bytes, losses), Journal(directory)
    blobs = BlobAddress(settings.blob_container_url, settings.blob_conn_str).connect if settings.has_blobs else None
    sender = Sender(spool, _hub(settings.hub).connect, losses, partial(adopt, directory, spool), blobs)
    exporter = EventHubSpanExporter(spool, journal, sender.flush)
    records = RecordProcessor(exporter, exporter.begin, on_failure=lambda: losses.add("not_made"))
    telemetry = Telemetry(_destinations(settings))
    provider = make_provider([records, *telemetry.processors, *span_processors], make_sampler(settings.trace_ratio))

    def start() -> None:
        if own_process:
            _calm_collector()
        sender.start()
        telemetry.start(provider, count)

    def flush(seconds: float) -> None:
        until = time.monotonic() + seconds
        provider.shutdown()
        telemetry.begin_stop()
        sender.stop(seconds)
        telemetry.end_stop(max(0.25, until - time.monotonic()))
        spool.close()
        journal.close()
        directory.release()

    lifecycle = Lifecycle(calls, settings.shutdown_seconds, start, flush, credentials.close)
    access = _access(settings, lifecycle.pool)
    door = Door(access, settings.caller_headers, settings.api_version, settings.capture_content)
    relay = Relay(
        door=door,
        reader=InboundReader(settings.ask_for_usage, Sticky.parse(settings.sticky)),
        attempts=Attempts(
            Backends([_backend(backend, credentials) for backend in settings.backends]),
            lifecycle.pool,
            door.caller_headers,
            UsageRefusals(),
        ),
        estimator=Estimator(),
        redactor=Redactor(settings.redact),
        tracer=provider.get_tracer(SCOPE),
        calls=calls,
        max_request_bytes=settings.max_request_bytes,
        max_seconds=settings.max_seconds,
        drain_on_abort=settings.drain_on_abort,
    )

    def look() -> Readiness:
        backlog = spool.backlog()
        delivery = Delivery(
            backlog.records,
            backlog.bytes,
            backlog.oldest_seconds,
            sender.sent,
            sender.last_success,
            losses.by_reason(),
            journal.failures,
        )
        return Readiness(calls.closing, len(calls), door.refused, delivery)

    def count() -> ProxyCounts:
        waiting = spool.backlog()
        return ProxyCounts(
            len(calls),
            waiting.records,
            waiting.bytes,
            waiting.oldest_seconds,
            sender.sent,
            losses.by_reason(),
            door.refused,
            sender.last_success,
            journal.failures,
        )

    app = ProxyApp(
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifecycle.lifespan,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.calls = ServerSpans(relay, provider.get_tracer(FastAPIInstrumentor.__module__, instrumentation_version))
    app.include_router(health_router(look, settings.ready_max_backlog_s))
    app.add_exception_handler(HTTPException, _not_served(door))
    app.state.proxy = lifecycle
    _instrument(app, provider)
    return app


def _calm_collector() -> None:
    """Have the garbage collector leave alone what lives as long as the process, and come seldom: at 1,000 streams its
    walks through all of that stalled everyone for 69 ms, and no more than 23 since."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Credentials:
    """The identity of the process towards upstream, made when first needed, shared, and closed at the end."""

    def __init__(self) -> None:
        self._auth: EntraAuth | None = None
        self._close: Callable[[], Awaitable[None]] | None = None

    def upstream(self) -> UpstreamAuth:
        if self._auth is None:
            from azure.identity.aio import DefaultAzureCredential

            credential = DefaultAzureCredential()
            self._auth, self._close = EntraAuth(credential), credential.close
        return self._auth

    async def close(self) -> None:
        if self._close is not None:
            await self._close()


def _access(settings: Settings, pool: Callable[[], Pool]) -> Access:
    """Client keys, or Entra ID, or either; without both, everyone, as settings have found to be wanted."""
    if settings.entra is None:
        return Access(ClientKeys(settings.client_keys))
    tokens = EntraTokens(settings.entra.tenant, settings.entra.audience, pool)
    return Access(ClientKeys(settings.client_keys) if settings.client_keys else None, tokens)


def _backend(settings: BackendSettings, credentials: _Credentials) -> Backend:
    auth = KeyAuth(settings.key) if settings.key else credentials.upstream()
    return Backend.at(settings.name, settings.base_url, auth, settings.priority, settings.deployments)


def _destinations(settings: Settings) -> Destinations:
    to = settings.telemetry
    return Destinations(
        insights=to.insights,
        credential=partial(_insights_credential, to) if to.entra else None,
        otlp=to.otlp,
        storage=settings.spool_dir / "application-insights",
        content=to.content,
        caller=to.caller,
    )


def _insights_credential(settings: TelemetrySettings) -> Credential:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    if settings.client_id:
        return ManagedIdentityCredential(client_id=settings.client_id)
    return DefaultAzureCredential()


def _hub(settings: HubSettings) -> Hub:
    return Hub(settings.name, settings.conn_str, settings.namespace, settings.websocket)


def _not_served(door: Door) -> Callable[[Request, Exception], Response]:
    """Answers what no route takes, in the shape of every other error."""

    def answer(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 404
        error = (
            MethodNotAllowed("This method is not allowed here.")
            if status == 405
            else NotFound("There is nothing at this path: calls go to /openai/….")
        )
        door.refuse(error)
        headers = {"x-trace-id": current_trace_id()}
        return Response(error.body(), error.status, headers, media_type="application/json")

    return answer


def _instrument(app: FastAPI, provider: TracerProvider) -> None:
    """SERVER spans for all but the health probes, none for single sends and receives, no metrics of its own."""
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=r"^[a-z]+://[^/]+/health/(live|ready)$",
        exclude_spans=["send", "receive"],
    )
