"""The deployments that the documents promise, as azd fills in their parameters.

`environ` is what `azd env set` set; `lists` are the parameters that are edited in main.parameters.json itself.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

INFRA: Final = Path(__file__).parents[1]
_TYPES: Final = re.compile(r"^param (\w+) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Deployment:
    environ: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, list[Any]] = field(default_factory=dict)


DEPLOYMENTS: Final = {
    "plain": Deployment(),
    "existing": Deployment(
        {
            "EXISTING_EVENTHUBS_NAMESPACE": "evhns-theirs",
            "EXISTING_EVENTHUBS_RESOURCE_GROUP": "rg-theirs",
            "EXISTING_RECORDS_STORAGE": "sttheirs",
            "EXISTING_RECORDS_RESOURCE_GROUP": "rg-theirs",
            "EXISTING_INSIGHTS_NAME": "appi-theirs",
            "EXISTING_INSIGHTS_RESOURCE_GROUP": "rg-theirs",
            "EXISTING_APIM_NAME": "apim-theirs",
            "EXISTING_APIM_RESOURCE_GROUP": "rg-theirs",
            "RECORDS_READER_ID": "11111111-1111-1111-1111-111111111111",
            "AVAILABILITY_TEST": "true",
            "ALARM_EMAIL": "operators@example.com",
            "APIM_CALLER_TENANT": "22222222-2222-2222-2222-222222222222",
            "APIM_CALLER_AUDIENCE": "api://models",
            "APIM_TOKENS_PER_MINUTE": "1000",
        },
        {
            "openAiAccounts": [],
            "existingOpenAiAccounts": [
                {
                    "name": "oai-theirs",
                    "resourceGroup": "rg-theirs",
                    "endpoint": "https://oai-theirs.openai.azure.com",
                    "priority": 1,
                }
            ],
        },
    ),
    "families": Deployment(
        lists={
            "openAiDeployments": [
                {
                    "name": "chat",
                    "model": "gpt-4.1-mini",
                    "version": "2025-04-14",
                    "sku": "GlobalStandard",
                    "capacity": 50,
                },
                {
                    "name": "claude",
                    "format": "Anthropic",
                    "model": "claude-sonnet-4-5",
                    "version": "20250929",
                    "sku": "GlobalStandard",
                    "capacity": 50,
                },
            ]
        }
    ),
    "rolling": Deployment({"UPDATE_STRATEGY": "RollingUpdate"}),
    "llm-log": Deployment({"APIM_LLM_LOG": "true"}),
    "private": Deployment({"PRIVATE_NETWORK": "true", "APIM_SKU": "StandardV2"}),
    "containerapps": Deployment(
        {
            "DEPLOY_TO": "containerapps",
            "SERVICE_CONTAINER_IMAGE_NAME": "cr.azurecr.io/proxy:1",
            "ALWAYS_READY_INSTANCES": "1",
        }
    ),
    "containerapps-private": Deployment(
        {"DEPLOY_TO": "containerapps", "PRIVATE_NETWORK": "true", "APIM_SKU": "PremiumV2"},
    ),
}
"""By the name of their files."""


def parameters(deployment: Deployment) -> dict[str, Any]:
    """main.parameters.json after azd has replaced ${NAME} and ${NAME=default}, with values of main.bicep's types.

    azd turns the text of a parameter into a number or a boolean if that is its type (its bicep provider does so).
    """
    environ = {"AZURE_ENV_NAME": "traced", "AZURE_LOCATION": "westeurope"} | dict(deployment.environ)

    def replaced(match: re.Match[str]) -> str:
        name, _, default = match[1].partition("=")
        return environ.get(name) or default

    text = re.sub(r"\$\{([^}]*)\}", replaced, (INFRA / "main.parameters.json").read_text())
    types = dict(_TYPES.findall((INFRA / "main.bicep").read_text()))
    given = {name: _typed(each["value"], types.get(name, "")) for name, each in json.loads(text)["parameters"].items()}
    return given | dict(deployment.lists)


def parameter_file(given: Mapping[str, Any], template: str = "../main.bicep") -> str:
    """The same as a .bicepparam file."""
    return f"using '{template}'\n\n" + "".join(f"param {name} = {_literal(value)}\n" for name, value in given.items())


def _typed(value: Any, kind: str) -> Any:
    if kind == "int" and isinstance(value, str):
        return int(value)
    if kind == "bool" and isinstance(value, str):
        return {"true": True, "false": False}[value.lower()]
    return value


def _literal(value: Any, indent: str = "") -> str:
    deeper = indent + "  "
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
            return f"'{escaped}'"
        case list():
            items = "".join(f"{deeper}{_literal(each, deeper)}\n" for each in value)
            return f"[\n{items}{indent}]" if items else "[]"
        case dict():
            members = "".join(f"{deeper}{name}: {_literal(each, deeper)}\n" for name, each in value.items())
            return f"{{\n{members}{indent}}}"
    raise TypeError(f"no Bicep for {value!r}")
