"""The files around the templates: azure.yaml, host.json, the container, the workflows, and the documents."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.deployed import INFRA, ROOT, deployed, every
from tests.infra.environment import parameters, read_by_settings
from tests.infra.test_deployments import CLAUDE, FUNCTION, PROXY

DEPLOY = (ROOT / "docs/deploy.md").read_text()
DOCUMENTS = [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
HOST = {
    "version": str,
    "telemetryMode": str,
    "functionTimeout": str,
    "logging": {"logLevel": {"default": str, "Host.Startup": str}},
    "extensions": {"http": {"routePrefix": str}},
}
"""The members of host.json and their types, from https://json.schemastore.org/host.json."""


def test_azd_finds_the_app() -> None:
    """azure.yaml has a service for each host, which is deployed where the template says so, and finds it by its tag."""
    config = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert {name: (service["host"], service["condition"]) for name, service in config["services"].items()} == {
        "proxy": ("function", "${DEPLOY_FUNCTION}"),
        "container": ("containerapp", "${DEPLOY_CONTAINER}"),
    }
    assert (ROOT / config["infra"]["path"] / f"{config['infra']['module']}.bicep").is_file()
    assert (ROOT / config["services"]["container"]["docker"]["path"]).is_file()
    for each in every():
        (app,) = each.of_type("Microsoft.Web/sites") or each.of_type("Microsoft.App/containerApps")
        is_function = app.kind == "Microsoft.Web/sites"
        assert app.whole["tags"]["azd-service-name"] == ("proxy" if is_function else "container")
        assert (each.outputs["DEPLOY_FUNCTION"], each.outputs["DEPLOY_CONTAINER"]) == (is_function, not is_function)
        group = each.one("Microsoft.Resources/resourceGroups")
        assert (group.name, group.whole["tags"]) == ("rg-traced", {"azd-env-name": "traced"})


def test_host_json_is_valid() -> None:
    """It has members that the host knows, with the right types, and its timeout has the form hh:mm:ss."""
    host = json.loads((ROOT / "host.json").read_text())
    assert_form(host, HOST)
    assert (host["version"], host["telemetryMode"]) == ("2.0", "OpenTelemetry")
    assert re.fullmatch(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", host["functionTimeout"])


def assert_form(found: Any, form: Any) -> None:
    if isinstance(form, dict):
        assert set(found) == set(form)
        for name, value in form.items():
            assert_form(found[name], value)
    else:
        assert isinstance(found, form)


def test_the_picture_is_drawn_from_its_source() -> None:
    """Each label of docs/deployment.dot is in docs/deployment.svg, which `make picture` draws from it."""
    source, drawn = ((ROOT / f"docs/deployment.{kind}").read_text() for kind in ("dot", "svg"))
    labels = [part for label in re.findall(r'label="([^"]*)"', source) for part in label.split("\\n")]
    texts = [html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)]
    assert len(labels) > 15
    assert sorted(labels) == sorted(texts)


@pytest.mark.parametrize("path", [*(ROOT / ".github/workflows").glob("*.yml")], ids=lambda path: path.name)
def test_workflows_run_existing_targets(path: Path) -> None:
    """Every `make` target in them exists, and no permission is wider than needed."""
    text = path.read_text()
    workflow = yaml.safe_load(text)
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    called = {word for run in runs for words in re.findall(r"make ([a-z -]+)$", run) for word in words.split()}
    matrix = workflow["jobs"].get("make", {}).get("strategy", {}).get("matrix", {}).get("target", [])
    assert called | set(matrix) <= targets
    assert set(workflow["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
    assert "secrets." not in text


def test_deploy_md_lists_the_options() -> None:
    """Every variable that main.parameters.json reads, except the proxy's own settings."""
    read = set(re.findall(r"\$\{([A-Z_]+)", (INFRA / "main.parameters.json").read_text()))
    named = set(re.findall(r"`([A-Z_]+)`", DEPLOY.partition("### Options")[2].partition("\n## ")[0]))
    by_azd = {"AZURE_ENV_NAME", "AZURE_LOCATION", "SERVICE_CONTAINER_IMAGE_NAME"}
    assert read - by_azd - {"APIM_PUBLISHER_EMAIL", "RECORDS_READER_ID"} == named | (
        set(parameters({})["settings"]) & read
    )
    assert "azd env set APIM_PUBLISHER_EMAIL" in DEPLOY
    assert "azd env set RECORDS_READER_ID" in DEPLOY


def test_deploy_md_lists_the_roles() -> None:
    """The manual steps grant the roles that the template grants."""
    table = DEPLOY.partition("### Role assignments")[2].partition("### App settings")[0]
    assert set(re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.MULTILINE)) == {
        role for role, _, who in PROXY | FUNCTION | CLAUDE if who == "proxy"
    }


def test_the_commands_in_deploy_md_are_valid() -> None:
    """They set existing settings and use existing outputs."""
    block = DEPLOY.partition("az functionapp config appsettings set")[2].partition("\n\n")[0]
    known = read_by_settings() | {"PYTHON_ENABLE_OPENTELEMETRY"}
    assert set(re.findall(r"^ +([A-Z_]+)=", block, re.MULTILINE)) <= known
    used = set(re.findall(r"\$\{?((?:API|APP|EVENTHUB|AZURE)_[A-Z_]+)", DEPLOY))
    assert used <= set(deployed("plain").outputs) | {"AZURE_SUBSCRIPTION_ID"}
    assert set(re.findall(r"-e ([A-Z_]+)=", DEPLOY)) <= read_by_settings()


def test_the_gateways_url_is_an_output() -> None:
    """`azd up` ends with the address to call, API Management's."""
    assert "'api-{0}'" in deployed("plain").outputs["API_ENDPOINT"]
    assert "output endpoint string = service.properties.gatewayUrl" in (INFRA / "api.bicep").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_are_valid(path: Path) -> None:
    """Every file and heading that a document links to exists."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        file = (path.parent / target) if target else path
        assert file.exists(), f"{target} in {path.name}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor} in {path.name}"
