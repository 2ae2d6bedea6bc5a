"""What the promised deployments make, by their snapshots: nobody has more access than needed, and none is by key."""

import hashlib
import json
import re

import pytest

from infra.deployments.check import shortened
from infra.deployments.deployments import DEPLOYMENTS, parameter_file, parameters
from tests.infra.deployed import INFRA, ROOT, SNAPSHOTS, Deployed, deployed, every, keys_in, texts_in

ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "a97b65f3-24c7-4388-baec-2e87135dc908": "Cognitive Services User",
    "2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender",
    "a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""

PROXY = {
    ("Cognitive Services OpenAI User", "Microsoft.CognitiveServices/accounts", "proxy"),
    ("Azure Event Hubs Data Sender", "Microsoft.EventHub/namespaces/eventhubs", "proxy"),
    ("Storage Blob Data Contributor", "Microsoft.Storage/storageAccounts/blobServices/containers", "proxy"),
    ("Monitoring Metrics Publisher", "Microsoft.Insights/components", "proxy"),
    ("Monitoring Metrics Publisher", "Microsoft.Insights/components", "gateway"),
}
FUNCTION = {("Storage Blob Data Owner", "Microsoft.Storage/storageAccounts", "proxy")}
CONTAINER = {("AcrPull", "Microsoft.ContainerRegistry/registries", "proxy")}
READER = {
    ("Azure Event Hubs Data Receiver", "Microsoft.EventHub/namespaces/eventhubs", "reader"),
    ("Storage Blob Data Reader", "Microsoft.Storage/storageAccounts/blobServices/containers", "reader"),
}
CLAUDE = {("Cognitive Services User", "Microsoft.CognitiveServices/accounts", "proxy")}
GRANTED = {
    **dict.fromkeys(("plain", "rolling", "llm-log", "private"), PROXY | FUNCTION),
    "existing": PROXY | FUNCTION | READER,
    "families": PROXY | FUNCTION | CLAUDE,
    **dict.fromkeys(("containerapps", "containerapps-private"), PROXY | CONTAINER),
}
"""Role, the type it is scoped to, and who has it."""

NO_KEYS: dict[str, dict[str, bool | str]] = {
    "Microsoft.CognitiveServices/accounts": {"disableLocalAuth": True},
    "Microsoft.ContainerRegistry/registries": {"adminUserEnabled": False, "anonymousPullEnabled": False},
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
    "Microsoft.App/containerApps": {"allowInsecure": False},
}
SECRETS = (
    r"(?i)account ?key|shared ?access ?key|[?&;]sig=|password|BEGIN [A-Z ]*KEY",
    r"(?<![\w/+-])(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{40,}={0,2}(?![\w/-])",
    r"(?<![\w-])[0-9a-fA-F]{32,}(?![\w-])",
)
OURS = re.compile(r"SHA-256 [0-9a-f]{64}|0723d852ed5d4c0b95f331ce6f37833be70ea019")
"""The hash of a shortened text; the commit of a description."""


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_parameter_files_are_what_azd_fills_in(name: str) -> None:
    """Each parameter file is main.parameters.json with the deployment's variables, and has a snapshot."""
    text = parameter_file(parameters(DEPLOYMENTS[name]))
    assert (SNAPSHOTS / f"{name}.bicepparam").read_text() == text
    assert deployed(name).diagnostics == (), "the compiler could work out every resource"
    assert {path.stem for path in SNAPSHOTS.glob("*.bicepparam")} == set(DEPLOYMENTS)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_role_assignments_are_exactly_these(name: str) -> None:
    """These identities have these roles on these resources, no wider scope and no others."""
    found = set()
    for each in deployed(name).of_type("Microsoft.Authorization/roleAssignments"):
        role = ROLES[each.properties["roleDefinitionId"].rpartition("/")[2]]
        who = principal(each.properties["principalId"])
        found.add((role, scope(each.id), who))
        # without the type, a role for a new identity fails until the identity has replicated
        assert (each.properties.get("principalType") == "ServicePrincipal") is (who != "reader")
    assert found == GRANTED[name]


def principal(text: str) -> str:
    if text == DEPLOYMENTS["existing"].environ["RECORDS_READER_ID"]:
        return "reader"
    if "Microsoft.ApiManagement/service" in text:
        return "gateway"
    assert "'identityMade'" in text or "/userAssignedIdentities/" in text
    return "proxy"


def scope(assignment: str) -> str:
    """The type of the resource that an assignment is made on."""
    (path,) = re.findall(
        r"^(?:\[extensionResourceId\(')?(/.*?)(?:', 'Microsoft.Auth|/providers/Microsoft.Auth)", assignment
    )
    parts = path.rpartition("/providers/")[2].split("/")
    return "/".join([parts[0], *parts[1::2]])


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_the_proxy_is_one_identity(each: Deployed) -> None:
    """The app runs as the identity that has the roles; API Management has its own."""
    identity = each.one("Microsoft.ManagedIdentity/userAssignedIdentities")
    (app,) = each.of_type("Microsoft.Web/sites") or each.of_type("Microsoft.App/containerApps")
    assert app.whole["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}
    for gateway in each.of_type("Microsoft.ApiManagement/service"):
        assert gateway.whole["identity"] == {"type": "SystemAssigned"}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_local_authentication_is_disabled(kind: str) -> None:
    """Every new account, namespace, workspace, registry and app accepts Entra ID only, over TLS 1.2."""
    made = [resource for each in every() for resource in each.of_type(kind)]
    assert made
    for found in made:
        assert NO_KEYS[kind].items() <= dict(keys_in(found.properties)).items()


def test_no_secret_is_in_a_file_parameter_or_output() -> None:
    """No text looks like one, and keys that are read become a secret named value or a secret of the container."""
    for path in [*INFRA.rglob("*.bicep"), *SNAPSHOTS.glob("*.bicepparam")]:
        for text in re.findall(r"'(?:\\.|[^'\\\n])*'|//.*", path.read_text()):
            assert not [pattern for pattern in SECRETS if re.search(pattern, OURS.sub("", text))], text
    for each in every():
        assert not [name for name in each.outputs if re.search(r"(?i)key|secret|connection", name)]
        assert not re.search("(?i)list(keys|secrets)", json.dumps(each.outputs))
        for resource in each.resources:
            if re.search(r"(?i)\blist(keys|secrets)?\(", json.dumps(resource.whole)):
                assert resource.name.endswith("/openai-proxy-key") or resource.kind == "Microsoft.App/containerApps"
        named = [one for one in each.resources if one.name.endswith("/openai-proxy-key")]
        assert [one.properties["secret"] for one in named] == [True]
        for app in each.of_type("Microsoft.App/containerApps"):
            assert "list" not in json.dumps(app.properties["template"])


def test_the_patterns_match_secrets() -> None:
    """They match keys of Storage, Event Hubs, Azure OpenAI and Functions."""
    base64 = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    for secret in (f"AccountKey={base64}", base64, "SharedAccessKey=x", "?sv=1&sig=x", "0123456789abcdef" * 2):
        assert [pattern for pattern in SECRETS if re.search(pattern, secret)], secret


def test_nothing_that_others_own_is_made() -> None:
    """With every part existing, only the proxy itself, its storage and its identity are new; the rest is added to."""
    made = {each.kind for each in deployed("existing").resources if "/" not in each.name}
    assert made.isdisjoint(
        {
            *("Microsoft.CognitiveServices/accounts", "Microsoft.EventHub/namespaces", "Microsoft.Insights/components"),
            *("Microsoft.OperationalInsights/workspaces", "Microsoft.ApiManagement/service"),
        }
    )
    (storage,) = deployed("existing").of_type("Microsoft.Storage/storageAccounts")
    assert storage.name.startswith("sthost")


def test_an_instance_serves_many_calls() -> None:
    """Calls mostly wait, so an instance takes at least 100. The app runs the repository's version of Python."""
    config = deployed("plain").one("Microsoft.Web/sites").properties["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert config["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"] >= 100


def test_long_texts_are_hashed() -> None:
    """A snapshot shows that a long text changed, not the text."""
    text = "x" * 1001
    expected = f"1001 characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
    assert shortened({"a": [text, "short"]}) == {"a": [expected, "short"]}
    assert all(len(text) <= 1500 for each in every() for one in each.resources for text in texts_in(one.whole))


@pytest.mark.parametrize(("name", "strategy"), [("plain", "Recreate"), ("rolling", "RollingUpdate")])
def test_the_update_strategy_is_set(name: str, strategy: str) -> None:
    """UPDATE_STRATEGY reaches the Function App, by an API version that has it."""
    app = deployed(name).one("Microsoft.Web/sites")
    assert app.properties["functionAppConfig"]["siteUpdateStrategy"] == {"type": strategy}
    assert app.version >= "2024-11-01"
