"""The settings in three places that must agree: the code, the deployment, and the documents."""

import json

import pytest

from app.settings.settings import Settings
from tests.infra.bicep import ROOT, Template
from tests.infra.environment import (
    documented,
    parameters,
    read_by_doctor,
    read_by_settings,
    set_by_deployment,
)

NOT_DEPLOYED = {
    "AZURE_OPENAI_BASE_URL": "AZURE_OPENAI_BACKENDS replaces it",
    "AZURE_OPENAI_KEY": "a secret; the identity is enough",
    "AZURE_EVENTHUB_CONN_STR": "a secret; the identity is enough",
    "AZURE_BLOB_CONN_STR": "a secret; the identity is enough",
    "PROXY_CLIENT_KEYS": "a secret; API Management checks keys",
    "PROXY_ENTRA_TENANT": "API Management checks tokens, and passes none on",
    "PROXY_ENTRA_AUDIENCE": "API Management checks tokens, and passes none on",
    "PROXY_ALLOW_ANONYMOUS": "the host checks the function key",
    "FUNCTIONS_WORKER_RUNTIME": "the platform sets it, and rejects it as a setting",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "there is one protocol",
    "OTEL_SDK_DISABLED": "setting it is an error",
    "PROXY_MAX_SESSION_SECONDS": "Functions serve no WebSockets",
}
"""Variables that the code reads and the deployment does not set, with the reason."""

PLATFORM = {"AzureWebJobsStorage__accountName", "AzureWebJobsStorage__credential", "PYTHON_ENABLE_OPENTELEMETRY"}
"""Settings for the Functions host."""

RESOURCES = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": (
        "InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=https://a.in.example/"
    ),
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
    "AZURE_OPENAI_BACKENDS": json.dumps(
        [{"name": "swedencentral", "base_url": "https://a.openai.azure.com", "priority": 0, "deployments": None}]
    ),
    "AZURE_EVENTHUB_NAMESPACE": "a.servicebus.windows.net",
    "AZURE_EVENTHUB_NAME": "openai-records",
    "AZURE_BLOB_CONTAINER_URL": "https://a.blob.core.windows.net/openai-records",
    "PROXY_REDACT": "",
}
"""Settings that Bicep derives from resources, with realistic values."""


def test_the_settings_table_is_complete() -> None:
    """docs/operations.md and the code name the same variables."""
    assert set(documented("Settings")) == read_by_settings()


def test_the_readme_names_every_setting() -> None:
    """Except those that only express a prohibition."""
    text = (ROOT / "README.md").read_text()
    missing = {name for name in read_by_settings() if f"`{name}`" not in text}
    assert missing == {
        *("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "FUNCTIONS_WORKER_RUNTIME"),
        *("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SDK_DISABLED"),
    }


def test_the_sample_has_every_setting() -> None:
    """Except those that the platform sets or that are rarely needed."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert read_by_settings() - set(sample) == {
        *("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SDK_DISABLED"),
    }


def test_the_doctors_variables_are_documented() -> None:
    """Each variable that the doctor reads is in its table or is a setting of the proxy."""
    doctors = {name for name in documented("Platform settings") if name in read_by_doctor()}
    assert doctors == read_by_doctor() - read_by_settings()


def test_deployed_settings_are_read() -> None:
    """The code or the host reads every app setting; NOT_DEPLOYED has a reason for every other variable."""
    deployed = set(set_by_deployment())
    assert deployed - read_by_settings() == PLATFORM
    assert read_by_settings() - deployed == set(NOT_DEPLOYED)
    assert set(documented("Platform settings")) >= PLATFORM


def test_resources_override_settings() -> None:
    """A setting passed in cannot replace one that names a resource of the deployment."""
    in_bicep = set(set_by_deployment()) - set(parameters({})["settings"])
    assert in_bicep == set(RESOURCES) | PLATFORM
    assert "union(settings, {" in Template(ROOT / "infra/function.bicep").text


def test_the_proxy_starts_with_the_deployed_settings() -> None:
    """The app settings of a first `azd up` are valid, and contain no key."""
    settings = Settings.from_environ(
        parameters({"AZURE_ENV_NAME": "e", "AZURE_LOCATION": "westeurope"})["settings"]
        | RESOURCES
        | {"FUNCTIONS_WORKER_RUNTIME": "python"}
    )
    assert [backend.key for backend in settings.backends] == [None]
    assert (settings.hub.conn_str, settings.blob_conn_str, settings.client_keys) == (None, None, ())
    assert settings.telemetry.entra
    # Azure Functions, service limits: an instance of Flex Consumption has 0.8 GB of temporary storage
    assert settings.spool_max_bytes < 0.8e9 * 0.75
    assert settings.caller_headers == Settings.from_environ(RESOURCES | {"PROXY_CLIENT_KEYS": "k"}).caller_headers


def test_azd_env_set_reaches_the_proxy() -> None:
    """`azd env set PROXY_CONTENT none` is passed on."""
    assert parameters({"PROXY_CONTENT": "none"})["settings"]["PROXY_CONTENT"] == "none"
    assert parameters({})["settings"]["PROXY_CONTENT"] == "full"


def test_parameters_match_the_template() -> None:
    """main.parameters.json has only parameters of main.bicep, and all without a default."""
    declared = Template(ROOT / "infra/main.bicep").parameters
    assert set(parameters({})) <= set(declared)
    assert {name for name, optional in declared.items() if not optional} <= set(parameters({}))


def test_the_proxy_does_not_start_without_key_checks() -> None:
    """If the platform does not say that its host checks keys, the app refuses to start."""
    with pytest.raises(ValueError, match="PROXY_CLIENT_KEYS is missing"):
        Settings.from_environ(parameters({})["settings"] | RESOURCES)
