"""The settings in three places that must agree: the code, the deployment, and the documents."""

import json
import re

import pytest

from app.settings.caller import DEFAULT_HEADERS
from app.settings.settings import Settings
from tests.infra.deployed import ROOT, Deployed, deployed, every
from tests.infra.environment import (
    documented,
    parameters,
    read_by_doctor,
    read_by_settings,
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

HOST = {
    *("AzureWebJobsStorage__accountName", "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"),
    "PYTHON_ENABLE_OPENTELEMETRY",
}
"""Settings for the Functions host."""

PLATFORM = HOST | {"AZURE_CLIENT_ID"}
"""Settings for the host and for azure-identity."""


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


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_deployed_settings_are_read(each: Deployed) -> None:
    """The code or the host reads every app setting; NOT_DEPLOYED has a reason for every other variable."""
    found = set(each.settings())
    is_function = bool(each.of_type("Microsoft.Web/sites"))
    assert found - read_by_settings() == (PLATFORM if is_function else PLATFORM - HOST)
    assert read_by_settings() - found == set(NOT_DEPLOYED)
    assert set(documented("Platform settings")) >= PLATFORM


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_the_proxy_starts_with_the_deployed_settings(each: Deployed) -> None:
    """The app's own code accepts them, on either host, and they contain no key."""
    is_function = bool(each.of_type("Microsoft.Web/sites"))
    of_host = {"FUNCTIONS_WORKER_RUNTIME": "python"} if is_function else {"PROXY_CLIENT_KEYS": "key-one,key-two"}
    settings = Settings.from_environ(each.settings() | of_host)
    assert [backend.key for backend in settings.backends] == [None]
    assert (settings.hub.conn_str, settings.blob_conn_str) == (None, None)
    assert settings.telemetry.entra
    # Azure Functions, service limits: an instance of Flex Consumption has 0.8 GB of temporary storage
    assert settings.spool_max_bytes < 0.8e9 * 0.75
    default = Settings.from_environ({**each.settings(), **of_host, "PROXY_CALLER_HEADERS": DEFAULT_HEADERS})
    expected = {**default.caller_headers, "gateway_request_id": "x-apim-request-id"}
    assert settings.caller_headers == expected


def test_both_hosts_have_the_same_settings() -> None:
    """Beside what the Functions host itself reads, and the container's volume."""
    function, container = deployed("plain").settings(), deployed("containerapps").settings()
    assert set(function) - set(container) == HOST
    assert {name for name in container if container[name] != function[name]} == {"PROXY_SPOOL_DIR"}


def test_resources_override_settings() -> None:
    """A setting passed in cannot replace one that names a resource of the deployment."""
    assert "=>\n  union(given, {" in (ROOT / "infra/settings.bicep").read_text()
    assert list(parameters({})["settings"]) == [name for name in parameters({})["settings"] if name not in NOT_DEPLOYED]


def test_the_backends_are_the_accounts() -> None:
    """Each account is a backend, by the name that serves all its families of paths."""
    backends = Settings.from_environ(deployed("families").settings() | {"FUNCTIONS_WORKER_RUNTIME": "python"}).backends
    account = deployed("families").one("Microsoft.CognitiveServices/accounts")
    made = [one for each in every() for one in each.of_type("Microsoft.CognitiveServices/accounts")]
    assert {one.whole["kind"] for one in made} == {"AIServices"}
    assert [backend.base_url for backend in backends] == [f"https://{account.name}.services.ai.azure.com"]
    assert account.properties["customSubDomainName"] == account.name
    formats = [
        one.properties["model"]["format"]
        for one in deployed("families").of_type("Microsoft.CognitiveServices/accounts/deployments")
    ]
    assert formats == ["OpenAI", "Anthropic"]


def test_azd_env_set_reaches_the_proxy() -> None:
    """`azd env set PROXY_CONTENT none` is passed on."""
    assert parameters({"PROXY_CONTENT": "none"})["settings"]["PROXY_CONTENT"] == "none"
    assert parameters({})["settings"]["PROXY_CONTENT"] == "full"


def test_parameters_match_the_template() -> None:
    """main.parameters.json has only parameters of main.bicep, and all without a default."""
    declared = dict(re.findall(r"^param (\w+) [^=\n]+?( = |$)", (ROOT / "infra/main.bicep").read_text(), re.MULTILINE))
    assert set(parameters({})) <= set(declared)
    assert {name for name, default in declared.items() if not default} <= set(parameters({}))


def test_the_proxy_does_not_start_without_key_checks() -> None:
    """If the platform does not say that its host checks keys, the app refuses to start."""
    with pytest.raises(ValueError, match="PROXY_CLIENT_KEYS is missing"):
        Settings.from_environ(deployed("plain").settings())
