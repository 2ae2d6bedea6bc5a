"""Settings: the environment, read once; one error reports every fault and shows no secret."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.settings.backends import BackendSettings, endpoint, key_fault, read_backends, url_fault
from app.settings.caller import DEFAULT_HEADERS, read_body, read_headers
from app.settings.patterns import read_patterns
from app.settings.sdk import sdk_faults
from app.settings.telemetry import TelemetrySettings, read_telemetry


class SettingsError(ValueError):
    """Everything that is wrong with the environment: one fault per line, by the variable's name."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("invalid environment:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where records go: by connection string, or by namespace with Entra ID."""

    name: str
    conn_str: str | None = field(default=None, repr=False)
    namespace: str | None = None
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class EntraSettings:
    """Which tokens admit clients: the tenant's id, and the application's id or its `api://` URI."""

    tenant: str
    audience: str


def default_spool_dir() -> Path:
    """A folder under the system's temp directory, the same for every process of this user."""
    return Path(tempfile.gettempdir()) / f"azure-openai-telemetry-proxy-{os.geteuid()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; README.md has the table."""

    backends: tuple[BackendSettings, ...]
    hub: HubSettings
    blob_container_url: str | None = None
    blob_conn_str: str | None = field(default=None, repr=False)
    api_version: str | None = None
    client_keys: tuple[str, ...] = field(default=(), repr=False)
    entra: EntraSettings | None = None
    caller_headers: Mapping[str, str] = field(default_factory=dict)
    caller_body: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capture_content: bool = True
    only_filtered: bool = False
    """Whether content is captured only of calls that a content filter flagged or blocked."""
    redact: tuple[str, ...] = ()
    trace_ratio: float | None = None
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    drain_on_abort: bool = False
    ask_for_usage: bool = True
    sticky: str | None = None
    spool_dir: Path = field(default_factory=default_spool_dir)
    spool_max_bytes: int = 1024**3
    ready_max_backlog_s: float | None = None
    max_request_bytes: int = 64 * 1024**2
    max_content_bytes: int = 8 * 1024**2
    max_seconds: float = 600.0
    max_session_seconds: float = 3600.0
    shutdown_seconds: float = 10.0

    @property
    def has_blobs(self) -> bool:
        """Whether there is a blob container for records that the hub cannot accept."""
        return bool(self.blob_container_url or self.blob_conn_str)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; raises SettingsError with every fault found."""
        return _Reader(environ).read()


class _Reader:
    """Reads every variable and collects the faults instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: value.strip() for name, value in environ.items()}
        self._faults: list[str] = []

    def read(self) -> Settings:
        if self._flag("OTEL_SDK_DISABLED"):
            self._fault("OTEL_SDK_DISABLED would lose every record: records are made from spans")
        self._faults += sdk_faults(self._environ)
        content = self._choice("PROXY_CONTENT", "full", "filtered", "none")
        caller_headers, caller_body = self._caller()
        settings = Settings(
            backends=self._backends(),
            hub=self._hub(),
            blob_container_url=self._container_url(),
            blob_conn_str=self._text("AZURE_BLOB_CONN_STR"),
            api_version=self._api_version(),
            client_keys=self._client_keys(),
            entra=self._entra(),
            caller_headers=caller_headers,
            caller_body=caller_body,
            capture_content=content != "none",
            only_filtered=content == "filtered",
            redact=self._redact(),
            trace_ratio=self._number("PROXY_TRACE_RATIO", None, lambda ratio: 0 <= ratio <= 1, "from 0 to 1"),
            telemetry=self._telemetry(),
            drain_on_abort=self._choice("PROXY_ON_CLIENT_ABORT", "cancel", "drain") == "drain",
            ask_for_usage=self._choice("PROXY_STREAM_USAGE", "inject", "off") == "inject",
            sticky=self._sticky(),
            spool_dir=Path(self._text("PROXY_SPOOL_DIR") or default_spool_dir()),
            spool_max_bytes=self._positive_whole("PROXY_SPOOL_MAX_BYTES", 1024**3),
            ready_max_backlog_s=self._number("PROXY_READY_MAX_BACKLOG_SECONDS", None, lambda s: s > 0, "above 0"),
            max_request_bytes=self._positive_whole("PROXY_MAX_REQUEST_BYTES", 64 * 1024**2),
            max_content_bytes=self._positive_whole("PROXY_MAX_CONTENT_BYTES", 8 * 1024**2),
            max_seconds=self._positive("PROXY_MAX_SECONDS", 600.0),
            max_session_seconds=self._positive("PROXY_MAX_SESSION_SECONDS", 3600.0),
            shutdown_seconds=self._positive("PROXY_SHUTDOWN_SECONDS", 10.0),
        )
        if self._faults:
            raise SettingsError(self._faults)
        return settings

    def _backends(self) -> tuple[BackendSettings, ...]:
        text = self._text("AZURE_OPENAI_BACKENDS")
        if text is not None:
            backends, faults = read_backends(text)
            self._faults += faults
            return backends
        base_url = self._text("AZURE_OPENAI_BASE_URL")
        if base_url is None:
            self._fault("AZURE_OPENAI_BASE_URL is missing: the endpoint of the Azure OpenAI resource")
        elif fault := url_fault(base_url):
            self._fault(f"AZURE_OPENAI_BASE_URL {fault}")
        key = self._text("AZURE_OPENAI_KEY")
        return (BackendSettings("default", endpoint(base_url or ""), key and self._key("AZURE_OPENAI_KEY", key)),)

    def _telemetry(self) -> TelemetrySettings:
        content = self._choice("PROXY_TRACE_CONTENT", "none", "full") == "full"
        telemetry, faults = read_telemetry(self._text, content, self._flag("PROXY_TRACE_CALLER"))
        self._faults += faults
        return telemetry

    def _sticky(self) -> str | None:
        text = self._text("PROXY_STICKY")
        if text is not None and not re.fullmatch(r"(header|body):[\w-]+", text):
            self._fault("PROXY_STICKY must be header:NAME or body:FIELD")
        return text

    def _api_version(self) -> str | None:
        version = self._text("AZURE_OPENAI_API_VERSION")
        if version and not re.fullmatch(r"[A-Za-z0-9.-]+", version):
            self._fault("AZURE_OPENAI_API_VERSION is not a version such as 2024-10-21")
        return version

    def _key(self, name: str, key: str) -> str:
        if fault := key_fault(key):
            self._fault(f"{name} {fault}")
        return key

    def _hub(self) -> HubSettings:
        conn_str, namespace = self._text("AZURE_EVENTHUB_CONN_STR"), self._text("AZURE_EVENTHUB_NAMESPACE")
        name = self._text("AZURE_EVENTHUB_NAME")
        if conn_str:
            parts = dict(part.split("=", 1) for part in conn_str.split(";") if "=" in part)
            parts = {key.strip().lower(): value for key, value in parts.items()}
            name = name or parts.get("entitypath")
            if not parts.get("endpoint", "").startswith("sb://"):
                self._fault("AZURE_EVENTHUB_CONN_STR is not a connection string: it has no Endpoint=sb://…")
            elif "sharedaccesssignature" not in parts and not {"sharedaccesskeyname", "sharedaccesskey"} <= set(parts):
                self._fault("AZURE_EVENTHUB_CONN_STR has no SharedAccessKeyName and SharedAccessKey")
        elif not namespace:
            self._fault(
                "AZURE_EVENTHUB_CONN_STR is missing: the hub's connection string, "
                "or AZURE_EVENTHUB_NAMESPACE for Entra ID"
            )
        elif not re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", namespace):
            self._fault("AZURE_EVENTHUB_NAMESPACE is not a host name such as example.servicebus.windows.net")
        if not name and (conn_str or namespace):
            self._fault("AZURE_EVENTHUB_NAME is missing, and no EntityPath names the hub")
        websocket = self._choice("AZURE_EVENTHUB_TRANSPORT", "amqp", "websocket") == "websocket"
        return HubSettings(name or "", conn_str, namespace, websocket)

    def _container_url(self) -> str | None:
        url, conn_str = self._text("AZURE_BLOB_CONTAINER_URL"), self._text("AZURE_BLOB_CONN_STR")
        if url and (fault := url_fault(url)):
            self._fault(f"AZURE_BLOB_CONTAINER_URL {fault}")
        elif url and not urlsplit(url).path.strip("/"):
            self._fault("AZURE_BLOB_CONTAINER_URL names no container: https://account.blob.core.windows.net/container")
        if conn_str and "=" not in conn_str:
            self._fault("AZURE_BLOB_CONN_STR is not a connection string")
        return url

    def _client_keys(self) -> tuple[str, ...]:
        given = (self._text("PROXY_CLIENT_KEYS") or "").split(",")
        keys = tuple(self._key("PROXY_CLIENT_KEYS", key.strip()) for key in given if key.strip())
        on_functions = bool(self._text("FUNCTIONS_WORKER_RUNTIME"))
        if self._text("PROXY_CLIENT_KEYS") and not keys:
            self._fault("PROXY_CLIENT_KEYS contains no key")
        entra = self._text("PROXY_ENTRA_TENANT") or self._text("PROXY_ENTRA_AUDIENCE")
        if not keys and not entra and not on_functions and not self._flag("PROXY_ALLOW_ANONYMOUS"):
            self._fault(
                "PROXY_CLIENT_KEYS is missing, and no Functions host checks keys: anyone could spend the "
                "upstream's key; set PROXY_ALLOW_ANONYMOUS=true to allow that"
            )
        return keys

    def _entra(self) -> EntraSettings | None:
        tenant, audience = self._text("PROXY_ENTRA_TENANT"), self._text("PROXY_ENTRA_AUDIENCE")
        if tenant and not audience:
            self._fault("PROXY_ENTRA_AUDIENCE is missing: the application whose tokens are accepted")
        if audience and not tenant:
            self._fault("PROXY_ENTRA_TENANT is missing: the tenant whose tokens are accepted")
        if tenant and not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", tenant):
            # a domain name, or "common", does not say which issuer a token must have
            self._fault("PROXY_ENTRA_TENANT must be the tenant's id, such as 00000000-0000-0000-0000-000000000000")
        if audience and (not audience.removeprefix("api://") or not audience.isprintable() or " " in audience):
            self._fault("PROXY_ENTRA_AUDIENCE must be an application's id or its api:// URI")
        return EntraSettings(tenant.lower(), audience) if tenant and audience else None

    def _redact(self) -> tuple[str, ...]:
        text = self._text("PROXY_REDACT")
        if text is None:
            return ()
        patterns, faults = read_patterns(text)
        self._faults += faults
        return patterns

    def _caller(self) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        headers, faults = read_headers(self._environ.get("PROXY_CALLER_HEADERS", DEFAULT_HEADERS))
        paths, more = read_body(self._text("PROXY_CALLER_BODY") or "")
        self._faults += [*faults, *more]
        return headers, paths

    def _fault(self, fault: str) -> None:
        self._faults.append(fault)

    def _text(self, name: str) -> str | None:
        return self._environ.get(name) or None

    def _choice(self, name: str, *choices: str) -> str:
        value = (self._text(name) or choices[0]).lower()
        if value not in choices:
            self._fault(f"{name} must be one of {', '.join(choices)}")
            return choices[0]
        return value

    def _flag(self, name: str) -> bool:
        return self._choice(name, "false", "true") == "true"

    def _number(self, name: str, default: float | None, fits: Callable[[float], bool], expected: str) -> float | None:
        text = self._text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not fits(value):
            self._fault(f"{name} must be a number {expected}")
            return default
        return value

    def _positive(self, name: str, default: float) -> float:
        return self._number(name, default, lambda value: 0 < value < 1e15, "above 0") or default

    def _positive_whole(self, name: str, default: int) -> int:
        return int(
            self._number(
                name, default, lambda value: 1 <= value < 1e15 and value.is_integer(), "that is an integer above 0"
            )
            or default
        )
