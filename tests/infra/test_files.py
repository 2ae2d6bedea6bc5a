"""The files around the templates: azure.yaml, host.json, the container, the workflows, and the documents."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.bicep import INFRA, ROOT, Template, property_of
from tests.infra.environment import parameters, read_by_settings, set_by_deployment
from tests.infra.test_bicep import GRANTED

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


def test_azd_finds_the_function_app() -> None:
    """azure.yaml's service is the Function App's tag, and its template exists."""
    config = yaml.safe_load((ROOT / "azure.yaml").read_text())
    ((name, service),) = config["services"].items()
    assert (service["host"], service["language"], service["project"]) == ("function", "py", ".")
    (app,) = Template(INFRA / "function.bicep").of_type("Microsoft.Web/sites")
    assert f"'azd-service-name': '{name}'" in Template(INFRA / "function.bicep").text
    assert "union" in str(app.body["tags"])
    assert (ROOT / config["infra"]["path"] / f"{config['infra']['module']}.bicep").is_file()
    main = Template(INFRA / "main.bicep").text
    assert "{ 'azd-env-name': environmentName }" in main
    assert (parameters({"AZURE_ENV_NAME": "e"})["environmentName"], "'rg-${environmentName}'" in main) == ("e", True)


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


def test_the_container_has_the_deployed_packages() -> None:
    """It copies the packages that .funcignore includes, runs as its own user, and starts the app."""
    text = (INFRA / "container/Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\S+)", text, re.MULTILINE))
    included = {line[2:].strip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == included - {"function_app.py", "host.json"}
    command = json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1])
    assert command[:3] == ["uvicorn", "app.main:create_app", "--factory"]
    assert f"FROM python:{(ROOT / '.python-version').read_text().strip()}-" in text
    assert text.index("\nUSER ") < text.index("\nCMD ")


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
    assert read - {"AZURE_ENV_NAME", "AZURE_LOCATION", "APIM_PUBLISHER_EMAIL", "RECORDS_READER_ID"} == (
        named | (set(set_by_deployment()) & read)
    )
    assert "azd env set APIM_PUBLISHER_EMAIL" in DEPLOY
    assert "azd env set RECORDS_READER_ID" in DEPLOY


def test_deploy_md_lists_the_roles() -> None:
    """The manual steps grant the roles that the template grants."""
    table = DEPLOY.partition("### Role assignments")[2].partition("### App settings")[0]
    assert set(re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.MULTILINE)) == {
        role for _, role, _, who in GRANTED if who != "readerId"
    }


def test_the_commands_in_deploy_md_are_valid() -> None:
    """They set existing settings and use existing outputs."""
    block = DEPLOY.partition("az functionapp config appsettings set")[2].partition("\n\n")[0]
    known = read_by_settings() | {"PYTHON_ENABLE_OPENTELEMETRY"}
    assert set(re.findall(r"^ +([A-Z_]+)=", block, re.MULTILINE)) <= known
    outputs = Template(INFRA / "main.bicep").outputs
    used = set(re.findall(r"\$\{?((?:API|FUNCTION_APP|EVENTHUB|AZURE)_[A-Z_]+)", DEPLOY))
    assert used <= outputs | {"AZURE_SUBSCRIPTION_ID"}
    assert set(re.findall(r"-e ([A-Z_]+)=", DEPLOY)) <= read_by_settings()


def test_the_gateways_url_is_an_output() -> None:
    """`azd up` ends with the address to call, API Management's."""
    main = Template(INFRA / "main.bicep")
    assert property_of(main.tree["outputs"]["API_ENDPOINT"]["value"]) == ["api", "outputs", "endpoint"]
    api = Template(INFRA / "api.bicep")
    assert property_of(api.tree["outputs"]["endpoint"]["value"]) == ["service", "properties", "gatewayUrl"]


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
