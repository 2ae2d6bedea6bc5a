"""Settings: read once, every fault in one error, no secret in it."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from app.settings.settings import Settings, SettingsError
from tests.app.settings.environment import CONN_STR, NEEDED, SECRET, faults, read

ROOT = Path(__file__).parents[3]


def test_defaults() -> None:
    """With only the required variables set, the documented defaults apply."""
    settings = read()
    (backend,) = settings.backends
    assert (backend.base_url, backend.key) == ("https://example.openai.azure.com", None)
    assert (settings.hub.name, settings.hub.conn_str, settings.hub.websocket) == ("records", CONN_STR, False)
    assert settings.client_keys == ("client-secret",)
    assert settings.caller_headers == {
        "subscription_id": "x-apim-subscription-id",
        "product": "x-apim-product",
        "user_id": "x-apim-user-id",
        "app_id": "x-apim-app-id",
        "session_id": "x-session-id",
    }
    assert settings.api_version is None
    assert settings.capture_content is True
    assert settings.trace_ratio is None
    assert settings.drain_on_abort is False
    assert settings.ask_for_usage is True
    assert settings.sticky is None
    assert settings.spool_max_bytes == 1024**3
    assert settings.spool_dir.parent == Path(tempfile.gettempdir())
    assert settings.ready_max_backlog_s is None
    assert settings.max_request_bytes == 64 * 1024**2
    assert settings.max_seconds == 600
    assert settings.shutdown_seconds == 10
    assert settings.has_blobs is False


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("AZURE_OPENAI_BASE_URL", "http://127.0.0.1:1", "backends.0.base_url", "http://127.0.0.1:1"),
        ("AZURE_OPENAI_BASE_URL", "https://a.example//", "backends.0.base_url", "https://a.example"),
        ("AZURE_OPENAI_BASE_URL", "https://a.example/gate", "backends.0.base_url", "https://a.example/gate"),
        ("AZURE_OPENAI_KEY", " upstream-secret\n", "backends.0.key", "upstream-secret"),
        ("AZURE_OPENAI_API_VERSION", "2024-12-01-preview", "api_version", "2024-12-01-preview"),
        ("AZURE_EVENTHUB_NAME", "other", "hub.name", "other"),
        ("AZURE_EVENTHUB_TRANSPORT", "websocket", "hub.websocket", True),
        ("AZURE_EVENTHUB_TRANSPORT", "amqp", "hub.websocket", False),
        ("AZURE_BLOB_CONTAINER_URL", "https://a.blob.core.windows.net/c", "has_blobs", True),
        ("AZURE_BLOB_CONN_STR", "AccountName=a;AccountKey=b", "blob_conn_str", "AccountName=a;AccountKey=b"),
        ("PROXY_CLIENT_KEYS", " a, b,,c ", "client_keys", ("a", "b", "c")),
        ("PROXY_CALLER_HEADERS", "team = X-Team", "caller_headers", {"team": "x-team"}),
        ("PROXY_CALLER_HEADERS", "", "caller_headers", {}),
        ("PROXY_MAX_CONTENT_BYTES", "1000", "max_content_bytes", 1000),
        ("PROXY_MAX_SESSION_SECONDS", "1800", "max_session_seconds", 1800),
        ("PROXY_CONTENT", "none", "capture_content", False),
        ("PROXY_CONTENT", "FULL", "capture_content", True),
        ("PROXY_CONTENT", "FULL", "only_filtered", False),
        ("PROXY_CONTENT", "filtered", "capture_content", True),
        ("PROXY_CONTENT", "filtered", "only_filtered", True),
        (
            "PROXY_CALLER_HEADERS",
            "team=Baggage,a=baggage.B",
            "caller_headers",
            {"team": "baggage.team", "a": "baggage.B"},
        ),
        (
            "PROXY_CALLER_BODY",
            "u=user, team = metadata.team",
            "caller_body",
            {"u": ("user",), "team": ("metadata", "team")},
        ),
        ("PROXY_STREAM_USAGE", "off", "ask_for_usage", False),
        ("PROXY_STICKY", "body:user", "sticky", "body:user"),
        ("PROXY_STICKY", "header:x-session-id", "sticky", "header:x-session-id"),
        ("PROXY_TRACE_RATIO", "0", "trace_ratio", 0.0),
        ("PROXY_TRACE_RATIO", "0.25", "trace_ratio", 0.25),
        ("PROXY_ON_CLIENT_ABORT", "drain", "drain_on_abort", True),
        ("PROXY_SPOOL_DIR", "/var/spool/records", "spool_dir", Path("/var/spool/records")),
        ("PROXY_SPOOL_MAX_BYTES", "1e6", "spool_max_bytes", 1_000_000),
        ("PROXY_READY_MAX_BACKLOG_SECONDS", "90", "ready_max_backlog_s", 90.0),
        ("PROXY_MAX_REQUEST_BYTES", "1024", "max_request_bytes", 1024),
        ("PROXY_MAX_SECONDS", "0.5", "max_seconds", 0.5),
        ("PROXY_SHUTDOWN_SECONDS", "25", "shutdown_seconds", 25.0),
    ],
)
def test_each_setting_is_read(name: str, text: str, field: str, value: object) -> None:
    """Each variable sets its field."""
    found: Any = read(**{name: text})
    for step in field.split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    assert found == value


@pytest.mark.parametrize("name", ["AZURE_OPENAI_KEY", "PROXY_MAX_SECONDS", "PROXY_CONTENT", "PROXY_ALLOW_ANONYMOUS"])
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    """Deployment templates leave empty variables behind."""
    assert read(**{name: "  "}) == read()


def test_the_connection_string_may_name_the_hub() -> None:
    """EntityPath names the hub; AZURE_EVENTHUB_NAME takes precedence."""
    with_path = CONN_STR + ";EntityPath=from-path"
    assert read(AZURE_EVENTHUB_CONN_STR=with_path, AZURE_EVENTHUB_NAME="").hub.name == "from-path"
    assert read(AZURE_EVENTHUB_CONN_STR=with_path).hub.name == "records"
    assert "EntityPath" in faults(AZURE_EVENTHUB_NAME="")[0]


def test_a_namespace_replaces_the_connection_string() -> None:
    """With Entra ID, namespace and name identify the hub."""
    hub = read(AZURE_EVENTHUB_CONN_STR="", AZURE_EVENTHUB_NAMESPACE="example.servicebus.windows.net").hub
    assert (hub.conn_str, hub.namespace, hub.name) == (None, "example.servicebus.windows.net", "records")


def test_anonymous_access_must_be_requested() -> None:
    """Without client keys and the Functions host it starts only with PROXY_ALLOW_ANONYMOUS=true."""
    (fault,) = faults(PROXY_CLIENT_KEYS="")
    assert "PROXY_CLIENT_KEYS" in fault
    assert "PROXY_ALLOW_ANONYMOUS=true" in fault
    assert len(faults(PROXY_CLIENT_KEYS="", PROXY_ALLOW_ANONYMOUS="false")) == 1
    assert any("contains no key" in fault for fault in faults(PROXY_CLIENT_KEYS=" , "))
    assert read(PROXY_CLIENT_KEYS="", PROXY_ALLOW_ANONYMOUS="true").client_keys == ()
    assert read(PROXY_CLIENT_KEYS="", FUNCTIONS_WORKER_RUNTIME="python").client_keys == ()
    assert read(FUNCTIONS_WORKER_RUNTIME="python").client_keys == ("client-secret",)


BAD = {
    "AZURE_OPENAI_BASE_URL": f"https://user:{SECRET}@example.openai.azure.com/?key={SECRET}",
    "AZURE_OPENAI_KEY": f"{SECRET}\nrest",
    "AZURE_OPENAI_API_VERSION": f"2024&api-key={SECRET}",
    "AZURE_EVENTHUB_CONN_STR": f"Endpoint={SECRET};SharedAccessKey={SECRET}",
    "AZURE_EVENTHUB_TRANSPORT": SECRET,
    "AZURE_BLOB_CONTAINER_URL": f"https://account.blob.core.windows.net/container?sig={SECRET}",
    "AZURE_BLOB_CONN_STR": SECRET,
    "PROXY_CLIENT_KEYS": f"{SECRET}\n{SECRET}",
    "PROXY_ALLOW_ANONYMOUS": SECRET,
    "PROXY_CALLER_HEADERS": f"user_id=x-user,{SECRET},field={SECRET} {SECRET}",
    "PROXY_CALLER_BODY": f"team=metadata.team,{SECRET}",
    "PROXY_CONTENT": SECRET,
    "PROXY_TRACE_RATIO": SECRET,
    "PROXY_STREAM_USAGE": SECRET,
    "PROXY_STICKY": SECRET,
    "PROXY_ON_CLIENT_ABORT": SECRET,
    "PROXY_SPOOL_MAX_BYTES": SECRET,
    "PROXY_READY_MAX_BACKLOG_SECONDS": SECRET,
    "PROXY_MAX_REQUEST_BYTES": SECRET,
    "PROXY_MAX_SECONDS": SECRET,
    "PROXY_MAX_CONTENT_BYTES": SECRET,
    "PROXY_MAX_SESSION_SECONDS": SECRET,
    "PROXY_SHUTDOWN_SECONDS": SECRET,
    "OTEL_SDK_DISABLED": SECRET,
    "APPLICATIONINSIGHTS_CONNECTION_STRING": SECRET,
    "OTEL_EXPORTER_OTLP_ENDPOINT": SECRET,
    "PROXY_TRACE_CALLER": SECRET,
    "PROXY_TRACE_CONTENT": SECRET,
    "PROXY_REDACT": SECRET,
}


def test_one_error_names_every_fault_and_no_secret() -> None:
    """One error names every invalid variable and contains none of their values."""
    with pytest.raises(SettingsError) as refused:
        read(**{name: value for name, value in BAD.items() if name != "PROXY_ALLOW_ANONYMOUS"})
    named = {fault.split()[0].rstrip(":") for fault in refused.value.faults}
    assert named == set(BAD) - {"PROXY_ALLOW_ANONYMOUS", "AZURE_EVENTHUB_NAME"}
    assert all(fault in str(refused.value) for fault in refused.value.faults)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *BAD.items(),
        *[
            ("AZURE_OPENAI_BASE_URL", url)
            for url in ("", "example.com", "ftp://a.example", "https://", "https://a:x", "https://[")
        ],
        ("AZURE_OPENAI_BASE_URL", "https://a.example/#part"),
        *[("PROXY_TRACE_RATIO", number) for number in ("-0.1", "1.1", "nan", "inf", "1,0")],
        *[("PROXY_MAX_SECONDS", number) for number in ("0", "-1", "nan", "inf", "ten")],
        *[("PROXY_SHUTDOWN_SECONDS", number) for number in ("0", "inf")],
        *[("PROXY_READY_MAX_BACKLOG_SECONDS", number) for number in ("0", "-1", "nan")],
        *[("PROXY_MAX_REQUEST_BYTES", number) for number in ("0", "1.5", "1e99", "-5", "64 MiB")],
        *[("PROXY_SPOOL_MAX_BYTES", number) for number in ("0", "0.5", "nan")],
        *[("PROXY_CALLER_HEADERS", text) for text in ("user", "user=", "=x-user", "a b=x-user", "user=x:y", "u=x\ny")],
        *[("PROXY_CALLER_BODY", text) for text in ("user", "user=", "=user", "a b=user", "u=a..b", "u=.a", "u=a b")],
        ("OTEL_SDK_DISABLED", "true"),
        *[("OTEL_PROPAGATORS", text) for text in ("b3", "tracecontext,jaeger")],
        *[("OTEL_SPAN_EVENT_COUNT_LIMIT", text) for text in ("abc", "-1")],
        *[(f"OTEL_{name}", "abc") for name in ("BSP_SCHEDULE_DELAY", "ATTRIBUTE_VALUE_LENGTH_LIMIT")],
        *[(f"OTEL_{name}", "abc") for name in ("METRIC_EXPORT_INTERVAL", "EXPORTER_OTLP_TRACES_TIMEOUT")],
        ("AZURE_EVENTHUB_CONN_STR", "Endpoint=sb://example.servicebus.windows.net/;SharedAccessKeyName=send"),
        ("AZURE_EVENTHUB_CONN_STR", ""),
        ("AZURE_BLOB_CONTAINER_URL", "https://account.blob.core.windows.net/"),
    ],
)
def test_an_invalid_value_is_a_fault(name: str, text: str) -> None:
    """One fault per bad variable, or per bad entry of a list, with its name and without its value."""
    more = {"PROXY_CLIENT_KEYS": ""} if name == "PROXY_ALLOW_ANONYMOUS" else {}
    found = faults(**more, **{name: text})
    assert len(found) == (2 if text.count(SECRET) == 3 or more else 1)
    assert [fault for fault in found if name in fault] == found
    assert SECRET not in "".join(found)


def test_a_namespace_must_be_a_host_name() -> None:
    """A URL or a connection string in AZURE_EVENTHUB_NAMESPACE is a fault."""
    for text in ("sb://example.servicebus.windows.net", "example", CONN_STR):
        (fault,) = faults(AZURE_EVENTHUB_CONN_STR="", AZURE_EVENTHUB_NAMESPACE=text)
        assert fault.startswith("AZURE_EVENTHUB_NAMESPACE")
        assert "hub-secret" not in fault


@trials(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({*NEEDED, *BAD})), st.text(max_size=20)))
def test_any_environment_gives_settings_or_a_settings_error(environ: dict[str, str]) -> None:
    """Whatever the values: settings, or one SettingsError in which each fault begins with its variable's name."""
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        unnamed = [fault for fault in error.faults if not fault.startswith(("AZURE_", "PROXY_", "OTEL_", "APPLI"))]
        good = bool(error.faults) and not unnamed
    else:
        good = bool(settings.backends and settings.hub.name)
    assert good


def test_settings_are_frozen_and_show_no_secret() -> None:
    """Settings are safe to log and cannot change."""
    settings = read(AZURE_OPENAI_KEY="upstream-secret", AZURE_BLOB_CONN_STR="AccountKey=blob-secret")
    assert "secret" not in repr(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.max_seconds = 1.0  # type: ignore[misc]


def test_an_invalid_environment_ends_the_process(tmp_path: Path) -> None:
    """`uvicorn app.main:create_app --factory` exits non-zero, with every fault and no secret on stderr."""
    environ = {"PATH": os.environ["PATH"], **NEEDED, **BAD, "AZURE_OPENAI_KEY": SECRET, "PROXY_CLIENT_KEYS": SECRET}
    environ["PROXY_SPOOL_DIR"] = str(tmp_path / "spool")
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port=0"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert "invalid environment:" in ended.stderr
    for name in set(BAD) - {"AZURE_OPENAI_KEY", "PROXY_CLIENT_KEYS", "PROXY_ALLOW_ANONYMOUS"}:
        assert f"  - {name}" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
    assert "hub-secret" not in ended.stderr + ended.stdout
    assert not (tmp_path / "spool").exists()
