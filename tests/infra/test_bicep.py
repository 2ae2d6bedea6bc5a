"""infra/*.bicep, as far as it can be checked without Azure: it is consistent, and no access is by key.

These tests need no Bicep compiler: a parser reads the files, and the tests compare them with each other.
"""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.infra.bicep import INFRA, ROOT, Declared, Template, keys_in, property_of, templates

FILES = templates()
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender",
    "a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""

GRANTED = {
    ("function.bicep", "Storage Blob Data Owner", "Microsoft.Storage/storageAccounts", "app"),
    ("roles/openai.bicep", "Cognitive Services OpenAI User", "Microsoft.CognitiveServices/accounts", "principalId"),
    ("roles/hub.bicep", "Azure Event Hubs Data Sender", "Microsoft.EventHub/namespaces/eventhubs", "principalId"),
    ("roles/hub.bicep", "Azure Event Hubs Data Receiver", "Microsoft.EventHub/namespaces/eventhubs", "readerId"),
    (
        *("roles/records.bicep", "Storage Blob Data Contributor"),
        *("Microsoft.Storage/storageAccounts/blobServices/containers", "principalId"),
    ),
    (
        *("roles/records.bicep", "Storage Blob Data Reader"),
        *("Microsoft.Storage/storageAccounts/blobServices/containers", "readerId"),
    ),
    ("roles/insights.bicep", "Monitoring Metrics Publisher", "Microsoft.Insights/components", "principalId"),
}
"""File, role, the type it is scoped to, and the principal."""

WHO = {
    "access.bicep": {"proxy.outputs.principalId"},
    "roles/openai.bicep": {"principalId"},
    "roles/hub.bicep": {"principalId"},
    "roles/records.bicep": {"principalId"},
    "roles/insights.bicep": {"principalId", "gateway.identity.principalId"},
}
"""The arguments for principalId, by file."""

NO_KEYS: dict[str, dict[str, bool | str]] = {
    "Microsoft.CognitiveServices/accounts": {"disableLocalAuth": True},
    "Microsoft.EventHub/namespaces": {"disableLocalAuth": True, "minimumTlsVersion": "1.2"},
    "Microsoft.Insights/components": {"DisableLocalAuth": True},
    "Microsoft.OperationalInsights/workspaces": {"disableLocalAuth": True},
    "Microsoft.Storage/storageAccounts": {
        "allowSharedKeyAccess": False,
        "allowBlobPublicAccess": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    },
    "Microsoft.Web/sites": {"httpsOnly": True, "minTlsVersion": "1.2"},
}
SECRETS = (
    r"(?i)account ?key|shared ?access ?key|[?&;]sig=|password|BEGIN [A-Z ]*KEY",
    r"(?<![\w/+-])(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{40,}={0,2}(?![\w/-])",
    r"(?<![\w-])[0-9a-fA-F]{32,}(?![\w-])",
)


@pytest.mark.parametrize("name", FILES)
def test_every_name_is_declared_and_used(name: str) -> None:
    """Names in expressions are parameters, variables, resources or modules of the file, and none of these is unused."""
    file = FILES[name]
    assert file.names_used - file.declared == set()
    assert {*file.parameters, *file.variables} - file.names_used == set()


def calls() -> list[tuple[str, str, Declared]]:
    return [(name, alias, module) for name, file in FILES.items() for alias, module in file.modules.items()]


@pytest.mark.parametrize(("name", "alias", "module"), calls(), ids=lambda part: part if isinstance(part, str) else "")
def test_modules_get_their_parameters(name: str, alias: str, module: Declared) -> None:
    """A module's file exists, gets only parameters that it declares and all required ones, and has the used outputs."""
    called = called_by(name, module)
    given = set(module.body["params"])
    assert given <= set(called.parameters)
    assert {parameter for parameter, optional in called.parameters.items() if not optional} <= given
    asked = set(re.findall(rf"\b{alias}!?\.outputs\.(\w+)", FILES[name].text))
    assert asked <= called.outputs


def test_main_reaches_every_file() -> None:
    """Every module is used from main.bicep, and every file loaded as text exists."""
    reached, waiting = set(), ["main.bicep"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [path_of(called_by(name, module)) for module in FILES[name].modules.values()]
        for loaded in re.findall(r"loadTextContent\('([^']+)'\)", FILES[name].text):
            assert (INFRA / name).parent.joinpath(loaded).is_file()
    assert reached == set(FILES)


def test_the_role_assignments_are_exactly_these() -> None:
    """These identities have these roles on these resources, no wider scope and no others."""
    found = set()
    for name, file in FILES.items():
        for assignment in file.of_type("Microsoft.Authorization/roleAssignments"):
            properties = assignment.body["properties"]
            arguments = properties["roleDefinitionId"]["function"]["parameters"]
            role = file.variables[next(value for value in arguments.values() if value in file.variables)]
            scope = file.resources[assignment.body["scope"]].kind
            who = property_of(properties["principalId"])
            found.add((name, ROLES[role], scope, who[0]))
            # without the type, a role for a new identity fails until the identity has replicated
            assert (properties.get("principalType") == "ServicePrincipal") is (who[0] != "readerId")
            assert ROLES[role] in file.text, "a comment names the role"
    assert found == GRANTED


def test_the_principals_are_the_proxy_and_the_gateway() -> None:
    """Roles go to the proxy's and the gateway's own identities."""
    given: dict[str, set[str]] = {}
    for name, _, module in calls():
        path = path_of(called_by(name, module))
        if "principalId" in module.body["params"]:
            given.setdefault(path, set()).add(".".join(property_of(module.body["params"]["principalId"])))
    assert given == WHO
    (app,) = FILES["function.bicep"].of_type("Microsoft.Web/sites")
    (gateway,) = FILES["gateway.bicep"].of_type("Microsoft.ApiManagement/service")
    assert app.body["identity"] == gateway.body["identity"] == {"type": "SystemAssigned"}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_local_authentication_is_disabled(kind: str) -> None:
    """Every new account, namespace, workspace and app accepts Entra ID only, over TLS 1.2."""
    made = [found for file in FILES.values() for found in file.of_type(kind)]
    assert made
    for found in made:
        assert NO_KEYS[kind].items() <= dict(keys_in(found.body["properties"])).items()


def test_no_secret_is_in_a_file_or_output() -> None:
    """No text looks like one, no output carries one, and the only key that is read becomes a secret named value."""
    for file in FILES.values():
        for text in (*file.literals, *re.findall(r"//.*", file.text)):
            assert not [pattern for pattern in SECRETS if re.search(pattern, text)], text
        assert not re.search(r"\boutput\b.*(?i:key|secret|connectionstring)", file.text)
    reads = {name: len(re.findall(r"(?i)\blist(keys|secrets)?\(", file.text)) for name, file in FILES.items()}
    assert {name: count for name, count in reads.items() if count} == {"api.bicep": 1}
    named = FILES["api.bicep"].resources["functionKey"].body["properties"]
    assert named["secret"] is True
    assert "listKeys" in str(named["value"]) or "list_keys" in str(named["value"])


def test_the_patterns_match_secrets() -> None:
    """They match keys of Storage, Event Hubs, Azure OpenAI and Functions."""
    base64 = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    for secret in (f"AccountKey={base64}", base64, "SharedAccessKey=x", "?sv=1&sig=x", "0123456789abcdef" * 2):
        assert [pattern for pattern in SECRETS if re.search(pattern, secret)], secret


def test_an_instance_serves_many_calls() -> None:
    """Calls mostly wait, so an instance takes at least 100. The app runs the repository's version of Python."""
    (app,) = FILES["function.bicep"].of_type("Microsoft.Web/sites")
    config: Mapping[str, Any] = app.body["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert config["scaleAndConcurrency"]["triggers"] == {"http": {"perInstanceConcurrency": "callsPerInstance"}}
    assert FILES["main.bicep"].tree["parameters"]["callsPerInstance"]["default"] >= 100


def test_the_gateway_logs_no_body_and_no_query() -> None:
    """API Management's telemetry has W3C trace context, configurable sampling, and neither bodies nor keys."""
    file = FILES["api.bicep"]
    properties = file.resources["diagnostics"].body["properties"]
    assert properties["httpCorrelationProtocol"] == "W3C"
    assert properties["sampling"] == {"samplingType": "fixed", "percentage": "samplingPercentage"}
    sides = [side[way] for side in (properties["frontend"], properties["backend"]) for way in ("request", "response")]
    assert set(sides) == {"noBody", "noSecrets"}
    assert [properties[side]["request"] for side in ("frontend", "backend")] == ["noSecrets"] * 2
    for name in ("noBody", "noSecrets"):
        assert file.variables[name]["body"] == {"bytes": 0}
    assert file.variables["noSecrets"]["dataMasking"] == {"queryParams": [{"value": "*", "mode": "Hide"}]}


def called_by(name: str, module: Declared) -> Template:
    path = (INFRA / name).parent.joinpath(module.kind).resolve()
    return FILES[str(path.relative_to(INFRA))]


def path_of(file: Template) -> str:
    return str(file.path.relative_to(INFRA))
