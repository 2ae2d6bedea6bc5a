"""The environment in three places that must say the same: the code, the deployment, and the documents."""

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
    "AZURE_OPENAI_BASE_URL": "AZURE_OPENAI_BACKENDS takes its place",
    "AZURE_OPENAI_KEY": "a secret; the identity is enough",
    "AZURE_EVENTHUB_CONN_STR": "a secret; the identity is enough",
    "AZURE_BLOB_CONN_STR": "a secret; the identity is enough",
    "PROXY_CLIENT_KEYS": "a secret; API Management checks keys",
    "PROXY_ENTRA_TENANT": "API Management checks tokens, and passes none on",
    "PROXY_ENTRA_AUDIENCE": "API Management checks tokens, and passes none on",
    "PROXY_ALLOW_ANONYMOUS": "the host checks the function key",
    "FUNCTIONS_WORKER_RUNTIME": "the platform sets it, and refuses it as a setting",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "there is one protocol",
    "OTEL_SDK_DISABLED": "a fault when it is set",
}
"""What the code reads and the deployment leaves alone, and why."""

PLATFORM = {"AzureWebJobsStorage__accountName", "AzureWebJobsStorage__credential", "PYTHON_ENABLE_OPENTELEMETRY"}
"""What the deployment sets for the Functions host."""

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
"""What Bicep makes of its resources, with their forms."""


def test_every_setting_is_documented_and_nothing_else() -> None:
    """The tables of docs/operations.md and the code name the same variables."""
    assert set(documented("Settings")) == read_by_settings()


def test_every_setting_is_in_the_table_of_the_readme_or_explained_elsewhere() -> None:
    """README.md names every setting, but for those that only say what may not be."""
    text = (ROOT / "README.md").read_text()
    missing = {name for name in read_by_settings() if f"`{name}`" not in text}
    assert missing == {
        *("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "FUNCTIONS_WORKER_RUNTIME"),
        *("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SDK_DISABLED"),
    }


def test_every_setting_is_in_the_sample() -> None:
    """local.settings.sample.json names every setting, but for those that the platform sets or one seldom needs."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert read_by_settings() - set(sample) == {
        *("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SDK_DISABLED"),
    }


def test_the_doctors_variables_are_documented() -> None:
    """What the doctor reads is in its table, or is one of the proxy's own."""
    doctors = {name for name in documented("Platform settings") if name in read_by_doctor()}
    assert doctors == read_by_doctor() - read_by_settings()


def test_the_deployment_sets_what_is_read() -> None:
    """Every app setting is one that the code or the host reads; what the code reads and is not set, has a reason."""
    deployed = set(set_by_deployment())
    assert deployed - read_by_settings() == PLATFORM
    assert read_by_settings() - deployed == set(NOT_DEPLOYED)
    assert set(documented("Platform settings")) >= PLATFORM


def test_resources_win_over_settings() -> None:
    """A setting handed in from outside cannot take the place of one that names a resource of the deployment."""
    in_bicep = set(set_by_deployment()) - set(parameters({})["settings"])
    assert in_bicep == set(RESOURCES) | PLATFORM
    assert "union(settings, {" in Template(ROOT / "infra/function.bicep").text


def test_what_is_deployed_starts_the_proxy() -> None:
    """The app settings of a first `azd up` are an environment that the proxy takes, with no key in it."""
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


def test_a_setting_of_azds_environment_reaches_the_proxy() -> None:
    """`azd env set PROXY_CONTENT none` is handed on."""
    assert parameters({"PROXY_CONTENT": "none"})["settings"]["PROXY_CONTENT"] == "none"
    assert parameters({})["settings"]["PROXY_CONTENT"] == "full"


def test_the_parameters_are_those_of_the_template() -> None:
    """main.parameters.json names parameters of main.bicep only, and every one that has no default."""
    declared = Template(ROOT / "infra/main.bicep").parameters
    assert set(parameters({})) <= set(declared)
    assert {name for name, optional in declared.items() if not optional} <= set(parameters({}))


def test_without_the_platforms_word_the_proxy_does_not_start() -> None:
    """Should the platform not say that its host checks keys, the app refuses to start rather than let anyone in."""
    with pytest.raises(ValueError, match="PROXY_CLIENT_KEYS is missing"):
        Settings.from_environ(parameters({})["settings"] | RESOURCES)
