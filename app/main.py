"""create_app: the only place that builds the parts and wires them together."""

import gc
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from starlette.types import Receive, Scope, Send

from app.answer.estimate import Estimator
from app.answer.redact import Redactor
from app.answer.settling import Settling
from app.door.auth import Access, ClientKeys
from app.door.caller import CallerFields
from app.door.door import Door
from app.door.entra import EntraTokens
from app.door.inbound import InboundReader, Sticky
from app.lifecycle import Lifecycle, why_no_limit
from app.operations import FAMILIES, Families
from app.relay.attempts import Attempts, UsageRefusals
from app.relay.backends import Backend, Backends
from app.relay.calls import OpenCalls
from app.relay.relay import Relay
from app.sessions.handshake import Handshake
from app.sessions.session import Sessions
from app.settings.backends import BackendSettings
from app.settings.settings import Settings
from app.settings.telemetry import TelemetrySettings
from app.upstream import Pool
from app.upstream.credentials import EntraAuth, KeyAuth, UpstreamAuth
from exporters import client_check
from exporters.adoption import Adoption
from exporters.blob import BlobAddress
from exporters.descriptors import raise_limit
from exporters.directory import OwnDirectory
from exporters.eventhub import EventHubSpanExporter
from exporters.hub import Hub
from exporters.journal import Journal
from exporters.losses import Losses
from exporters.sender import Sender
from exporters.spool import Spool
from exporters.upkeep import Upkeep
from otel import azure_exporter, logs, recording, writing
from otel.attributes import SCOPE
from otel.destinations import Credential, Destinations
from otel.metrics import ProxyCounts
from otel.processor import RecordProcessor
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.telemetry import Telemetry

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential

    from app.proxy_app import ProxyApp

log = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    span_processors: Sequence[SpanProcessor] = (),
    families: Families = FAMILIES,
) -> "ProxyApp":
    """The proxy as an ASGI application, configured by `settings`, else by the environment.

    In the latter case the process is the proxy's own, and its logging is set up too. `span_processors` receive every
    span in addition to the proxy's own processors; `families` are the paths that are calls. Raises SettingsError for
    an invalid environment. Opens nothing before the lifespan starts.
    """
    own_process = settings is None
    if settings is None:
        settings = Settings.from_environ(os.environ)
        logs.set_up()
    # imported here: FastAPI with its models takes longer to import than everything else together
    from app.door.connection_check import why_not_guarded
    from app.health import Delivery, Readiness, health_router
    from app.proxy_app import ProxyApp, join_calls, why_not_left_off

    losses, calls, credentials, shortcuts = Losses(), OpenCalls(), _Credentials(), _Shortcuts()
    directory = OwnDirectory(settings.spool_dir)
    spool = Spool(directory, settings.spool_max_bytes, losses)
    journal = Journal(directory, spool.room, spool.descriptors)
    upkeep = Upkeep(directory, spool, journal)
    blobs = BlobAddress(settings.blob_container_url, settings.blob_conn_str).connect if settings.has_blobs else None
    to, direct = settings.hub, shortcuts.take("records", client_check.why_not_direct)
    hub = Hub(to.name, to.conn_str, to.namespace, to.websocket, direct)
    adopt = Adoption(directory, spool).run
    sender = Sender(spool, hub.connect, losses, upkeep, adopt, blobs, put=hub.put)
    exporter = EventHubSpanExporter(spool, journal, sender.flush)
    records = RecordProcessor(exporter, exporter.begin, on_failure=lambda: losses.add("not_made"))
    telemetry = _telemetry(_destinations(settings), shortcuts)
    direct = shortcuts.take("spans", writing.why_not_direct)
    provider = make_provider(
        [records, *telemetry.processors, *span_processors],
        make_sampler(settings.trace_ratio),
        record_requests=bool(span_processors),
        writer=writing.DirectWriter() if direct else writing.SpanWriter(),
    )

    def start() -> None:
        if own_process:
            raise_limit()
            _tune_garbage_collector()
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
    lifecycle.limits_server = shortcuts.take("shutdown", why_no_limit)
    access = _access(settings, lifecycle.pool)
    caller_fields = CallerFields(settings.caller_headers, settings.caller_body)
    door = Door(access, caller_fields, settings.api_version, settings.capture_content)
    backends = Backends([_backend(backend, credentials) for backend in settings.backends])
    settling = Settling(Estimator(), Redactor(settings.redact), settings.only_filtered)
    tracer = provider.get_tracer(SCOPE)
    relay = Relay(
        families=families,
        door=door,
        reader=InboundReader(
            ask_for_usage=settings.ask_for_usage,
            sticky=Sticky.parse(settings.sticky),
            withholds=settings.only_filtered or bool(settings.redact),
            model_routes=any(backend.deployments is not None for backend in settings.backends),
            caller_fields=caller_fields,
        ),
        attempts=Attempts(
            backends,
            lifecycle.pool,
            caller_fields.headers | families.key_headers,
            UsageRefusals(),
        ),
        settling=settling,
        tracer=tracer,
        calls=calls,
        max_request_bytes=settings.max_request_bytes,
        max_seconds=settings.max_seconds,
        max_text=settings.max_content_bytes,
        drain_on_abort=settings.drain_on_abort,
    )

    sessions = Sessions(
        families=families,
        door=door,
        handshake=Handshake(backends, lifecycle.pool, caller_fields.headers | families.key_headers),
        settling=settling,
        sticky=Sticky.parse(settings.sticky),
        tracer=tracer,
        calls=calls,
        max_message=settings.max_request_bytes,
        max_seconds=settings.max_session_seconds,
    )

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (sessions if sessions.serves(scope) else relay)(scope, receive, send)

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
            spool.held_bytes,
        )
        return Readiness(calls.closing, len(calls), door.refused, delivery, shortcuts.off)

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
            spool.held_bytes,
        )

    app = ProxyApp(
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifecycle.lifespan,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(health_router(look, settings.ready_max_backlog_s))
    app.state.proxy = lifecycle
    app.leaves_off_headers = shortcuts.take("headers", why_not_left_off)
    app.guards_connections = shortcuts.take("connections", why_not_guarded)
    join_calls(app, families, serve, door, provider)
    return app


def _tune_garbage_collector() -> None:
    """Exempt what lives as long as the process from garbage collection, and collect rarely: at 1,000 streams a
    collection stalled all of them for 69 ms, and with this for at most 23 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Shortcuts:
    """What uses the internals of a dependency, each tried once before it is used (docs/dependencies.md)."""

    def __init__(self) -> None:
        self.off: dict[str, str] = {}
        """Why one is not taken, by name."""

    def take(self, name: str, why_not: Callable[[], str | None]) -> bool:
        """Whether the internals are the known ones; if not, that is logged once, and the public way must be used."""
        try:
            reason = why_not()
        except Exception as fault:  # whatever changed internals raise
            reason = f"{type(fault).__name__}: {fault}"[:300]
        if reason is None:
            return True
        self.off[name] = reason
        log.warning("a dependency has changed: %s go the public way (docs/dependencies.md): %s", name, reason)
        return False


class _Credentials:
    """The process's identity for upstream: created when first needed, shared, closed at shutdown."""

    def __init__(self) -> None:
        self._credential: DefaultAzureCredential | None = None
        self._auth: dict[str, EntraAuth] = {}

    def upstream(self, scope: str) -> UpstreamAuth:
        if self._credential is None:
            from azure.identity.aio import DefaultAzureCredential

            self._credential = DefaultAzureCredential()
        if scope not in self._auth:
            self._auth[scope] = EntraAuth(self._credential, scope)
        return self._auth[scope]

    async def close(self) -> None:
        if self._credential is not None:
            await self._credential.close()


def _access(settings: Settings, pool: Callable[[], Pool]) -> Access:
    """Client keys, Entra ID, or either; with neither, anonymous access, which Settings has checked to be intended."""
    if settings.entra is None:
        return Access(ClientKeys(settings.client_keys))
    tokens = EntraTokens(settings.entra.tenant, settings.entra.audience, pool)
    return Access(ClientKeys(settings.client_keys) if settings.client_keys else None, tokens)


def _backend(settings: BackendSettings, credentials: _Credentials) -> Backend:
    auth = KeyAuth(settings.key) if settings.key else credentials.upstream(settings.scope)
    return Backend.at(settings.name, settings.base_url, auth, settings.priority, settings.deployments, settings.kinds)


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


def _telemetry(to: Destinations, shortcuts: _Shortcuts) -> Telemetry:
    """Without destinations the SDK's metrics are not even imported, nor is Azure's exporter without its own."""
    measures = to.insights or to.otlp
    counted = not measures or shortcuts.take("metrics", recording.why_not_recording)
    coded = not to.insights or shortcuts.take("result codes", azure_exporter.why_no_result_codes)
    return Telemetry(to, recording.Recording if counted else recording.PublicRecording, coded)


def _insights_credential(settings: TelemetrySettings) -> Credential:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    if settings.client_id:
        return ManagedIdentityCredential(client_id=settings.client_id)
    return DefaultAzureCredential()
