"""What stands around the templates: azd's file, host.json, the container, the workflows, and the documents."""

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
"""What host.json may hold here: members of https://json.schemastore.org/host.json, which is not at hand offline."""


def test_azd_finds_the_function_app() -> None:
    """The service of azure.yaml is the one that the Function App is tagged with, and the template is where it says."""
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


def test_host_json_is_of_the_known_form() -> None:
    """It has the members that the host knows, with their types, and its times are of the form hh:mm:ss."""
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


def test_the_container_has_what_is_deployed() -> None:
    """It copies the packages that .funcignore lets through, runs as its own user, and starts as the README says."""
    text = (INFRA / "container/Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\S+)", text, re.MULTILINE))
    let_through = {line[2:].strip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == let_through - {"function_app.py", "host.json"}
    command = json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1])
    assert command[:3] == ["uvicorn", "app.main:create_app", "--factory"]
    assert f"FROM python:{(ROOT / '.python-version').read_text().strip()}-" in text
    assert text.index("\nUSER ") < text.index("\nCMD ")


@pytest.mark.parametrize("path", [*(ROOT / ".github/workflows").glob("*.yml")], ids=lambda path: path.name)
def test_a_workflow_runs_what_there_is(path: Path) -> None:
    """Every `make` target in it exists, and no permission is wider than it needs."""
    text = path.read_text()
    workflow = yaml.safe_load(text)
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    called = {word for run in runs for words in re.findall(r"make ([a-z -]+)$", run) for word in words.split()}
    matrix = workflow["jobs"].get("make", {}).get("strategy", {}).get("matrix", {}).get("target", [])
    assert called | set(matrix) <= targets
    assert set(workflow["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
    assert "secrets." not in text


def test_the_options_in_the_document_are_those_of_azd() -> None:
    """docs/deploy.md names every variable that main.parameters.json reads, or says that the proxy's own go by name."""
    read = set(re.findall(r"\$\{([A-Z_]+)", (INFRA / "main.parameters.json").read_text()))
    named = set(re.findall(r"`([A-Z_]+)`", DEPLOY.partition("### Options")[2].partition("\n## ")[0]))
    assert read - {"AZURE_ENV_NAME", "AZURE_LOCATION", "APIM_PUBLISHER_EMAIL", "RECORDS_READER_ID"} == (
        named | (set(set_by_deployment()) & read)
    )
    assert "azd env set APIM_PUBLISHER_EMAIL" in DEPLOY
    assert "azd env set RECORDS_READER_ID" in DEPLOY


def test_the_document_names_every_role_of_the_proxy() -> None:
    """Who goes step by step gives the app the roles that the template gives it."""
    table = DEPLOY.partition("### Role assignments")[2].partition("### App settings")[0]
    assert set(re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.MULTILINE)) == {
        role for _, role, _, who in GRANTED if who != "readerId"
    }


def test_the_commands_in_the_document_fit() -> None:
    """They set settings that are read, use outputs that there are, and files that are here."""
    block = DEPLOY.partition("az functionapp config appsettings set")[2].partition("\n\n")[0]
    known = read_by_settings() | {"PYTHON_ENABLE_OPENTELEMETRY"}
    assert set(re.findall(r"^ +([A-Z_]+)=", block, re.MULTILINE)) <= known
    outputs = Template(INFRA / "main.bicep").outputs
    used = set(re.findall(r"\$\{?((?:API|FUNCTION_APP|EVENTHUB|AZURE)_[A-Z_]+)", DEPLOY))
    assert used <= outputs | {"AZURE_SUBSCRIPTION_ID"}
    assert set(re.findall(r"-e ([A-Z_]+)=", DEPLOY)) <= read_by_settings()


def test_the_endpoint_is_an_output() -> None:
    """`azd up` ends with the address to call: that of API Management."""
    main = Template(INFRA / "main.bicep")
    assert property_of(main.tree["outputs"]["API_ENDPOINT"]["value"]) == ["api", "outputs", "endpoint"]
    api = Template(INFRA / "api.bicep")
    assert property_of(api.tree["outputs"]["endpoint"]["value"]) == ["service", "properties", "gatewayUrl"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every file that a document links to is there, and every part of it that a link names."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        file = (path.parent / target) if target else path
        assert file.exists(), f"{target} in {path.name}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor} in {path.name}"
