"""The policies of API Management: their form, and each rule that another part relies on."""

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from infra.deployments.check import shortened
from tests.infra.apim.expression import Claims, Context, Guid, Jwt, Named, Variables, evaluate
from tests.infra.apim.policy import APIM, OPTIONS, Policy
from tests.infra.deployed import Deployed, Resource, deployed, every

VALUES = {
    "openai-proxy-key": "the-function-key",
    "openai-proxy-key-header": "x-functions-key",
    "openai-proxy-timeout": "230",
    "openai-proxy-tokens-per-minute": "1000",
    "openai-proxy-caller-tenant": "the-tenant",
    "openai-proxy-caller-audience": "the-audience",
}
ALLOWED = {
    *("inbound", "backend", "outbound", "on-error", "base", "set-header", "value", "set-query-parameter"),
    *("forward-request", "validate-azure-ad-token", "audiences", "audience", "llm-token-limit"),
}
EVERY = [(), ("token",), ("token-limit",), ("token", "token-limit")]


@pytest.mark.parametrize("options", EVERY)
def test_a_policy_is_well_formed(options: tuple[str, ...]) -> None:
    """With any of its options it is XML with the four sections, without elements that would read or log a body."""
    policy = Policy(VALUES, *options)
    assert [section.tag for section in policy.root] == ["inbound", "backend", "outbound", "on-error"]
    assert {element.tag for section in policy.root for element in section.iter()} <= ALLOWED
    assert "option:" not in policy.text
    assert ("validate-azure-ad-token" in policy.text, "llm-token-limit" in policy.text) == (
        "token" in options,
        "token-limit" in options,
    )


@pytest.mark.parametrize("path", [APIM / "api.xml", *OPTIONS.values()], ids=lambda path: path.name)
def test_every_expression_evaluates(path: Path) -> None:
    """Each `@(…)` parses, and yields text with and without a subscription, a product, a user and a token."""
    root = ET.fromstring(f"<all>{re.sub(r'{{.*?}}', 'x', path.read_text())}</all>")
    texts = [text for element in root.iter() for text in (element.text or "", *element.attrib.values())]
    expressions = [text for text in texts if "@" in text]
    assert len(expressions) == {"api.xml": 5, "token.xml": 0, "token-limit.xml": 1}[path.name]
    everything = Context(Named("s"), Named("p"), Named("u"), Variables(jwt=Jwt(Claims(oid="o", azp="a"))), Guid("r"))
    for expression in expressions:
        assert evaluate(expression, everything) in {"s", "p", "o", "a", "r"}
        assert evaluate(expression, Context()) in {"", "none", Guid().text}


@pytest.mark.parametrize("text", ["@{ return 1; }", "@(context.Request.Body)", '@("a" + "b")', "@(context.", "@(x)"])
def test_other_expressions_are_rejected(text: str) -> None:
    """Anything outside the subset of C# and .NET that the evaluator implements raises."""
    with pytest.raises((SyntaxError, AttributeError, IndexError, KeyError)):
        evaluate(text, Context())


def test_streams_are_not_buffered() -> None:
    """Each chunk is passed on immediately; no retries; the timeout is the Function App's own limit: 230 s."""
    policy = Policy(VALUES)
    assert (policy.forward().buffer_response, policy.forward().timeout) == (False, 230)
    assert policy.outbound() == ["base"]


def test_every_rule_has_a_comment() -> None:
    """Directly above each rule or its group of rules."""
    lines = (APIM / "api.xml").read_text().splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"    <(set-|forward)", line) and not re.search(r"-->$|<set-\S.*/>$|</set-header>$", before)
    ]
    assert bare == []
    for path in OPTIONS.values():
        assert path.read_text().startswith("<!--")


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_the_named_values_exist(each: Deployed) -> None:
    """Every {{named value}} in a policy is made, with the key as the only secret."""
    used = {name for path in APIM.glob("*.xml") for name in re.findall(r"\{\{([\w-]+)\}\}", path.read_text())}
    made = {
        one.name.partition("/")[2]: one.properties
        for one in each.of_type("Microsoft.ApiManagement/service/namedValues")
    }
    assert used == set(made) == set(VALUES)
    assert [name for name, properties in made.items() if properties.get("secret")] == ["openai-proxy-key"]
    host = "function" if each.of_type("Microsoft.Web/sites") else "container"
    assert (made["openai-proxy-key-header"]["value"], made["openai-proxy-timeout"]["value"]) == {
        "function": ("x-functions-key", "230"),
        "container": ("api-key", "1800"),
    }[host]


@pytest.mark.parametrize(("name", "options"), [("plain", ()), ("existing", ("token", "token-limit"))])
def test_every_api_has_the_policy(name: str, options: tuple[str, ...]) -> None:
    """One policy for all families, with the options that the tests here put in the same way."""
    text = (APIM / "api.xml").read_text()
    for option, path in OPTIONS.items():
        text = text.replace(f"<!-- option: {option} -->", path.read_text() if option in options else "")
    policies = deployed(name).of_type("Microsoft.ApiManagement/service/apis/policies")
    assert len(policies) == len(deployed(name).of_type("Microsoft.ApiManagement/service/apis")) == 4
    for each in policies:
        assert each.properties == {"format": "xml", "value": shortened(text)}


def test_a_session_is_not_forwarded_as_a_response() -> None:
    """The WebSocket APIs, which only a container can serve, have the same policy up to the handshake."""
    forward = '<forward-request timeout="{{openai-proxy-timeout}}" buffer-response="false" />'
    text = (APIM / "api.xml").read_text()
    assert text.count(forward) == 1
    expected = shortened(
        text.replace("<!-- option: token -->", "")
        .replace("<!-- option: token-limit -->", "")
        .replace(forward, "<base />")
    )
    each = deployed("containerapps")
    apis = {one.name.partition("/")[2]: one.properties for one in sockets(each)}
    assert {properties["path"] for properties in apis.values()} == {
        *("ws/openai/realtime", "ws/openai/v1/realtime", "ws/openai/v1/responses"),
    }
    for one in each.of_type("Microsoft.ApiManagement/service/apis/policies"):
        if one.name.split("/")[1] in apis:
            assert one.properties["value"] == expected
    assert all(properties["protocols"] == ["wss"] for properties in apis.values())
    assert not sockets(deployed("plain"))


def sockets(each: Deployed) -> list[Resource]:
    apis = each.of_type("Microsoft.ApiManagement/service/apis")
    return [one for one in apis if one.properties.get("type") == "websocket"]


@pytest.mark.parametrize(
    ("path", "header", "described"),
    [
        ("openai", "api-key", "2024-10-21/inference.json"),
        ("openai/v1", "api-key", "azure-v1-v1-generated.json"),
        ("anthropic", "x-api-key", None),
        ("models", "api-key", None),
    ],
)
def test_each_family_fits_its_clients(path: str, header: str, described: str | None) -> None:
    """Each takes the key where its clients send it, has its description, and passes on paths that this lacks."""
    each = deployed("plain")
    (api,) = [one for one in each.of_type("Microsoft.ApiManagement/service/apis") if one.properties["path"] == path]
    assert api.properties["subscriptionKeyParameterNames"]["header"] == header
    assert api.properties["serviceUrl"].endswith(f", '{path}')]")
    if described:
        assert api.properties["format"] == "openapi+json-link"
        assert api.properties["value"].endswith(described)
    else:
        assert api.properties.get("value") is None
    methods = {
        one.properties["method"]
        for one in each.of_type("Microsoft.ApiManagement/service/apis/operations")
        if one.name.startswith(f"{api.name}/") and one.properties["urlTemplate"] == "/*"
    }
    assert methods == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_the_gateway_logs_no_body_and_no_query(each: Deployed) -> None:
    """API Management's telemetry has W3C trace context, configurable sampling, and neither bodies nor keys."""
    found = each.of_type("Microsoft.ApiManagement/service/apis/diagnostics")
    names = [one.name.rpartition("/")[2] for one in found]
    assert names.count("applicationinsights") == 4
    assert names.count("azuremonitor") == (4 if each.name == "llm-log" else 0)
    for one in found:
        sides = [one.properties[side] for side in ("frontend", "backend")]
        for side in sides:
            assert side["response"] == {"body": {"bytes": 0}}
            assert side["request"]["body"] == {"bytes": 0}
            assert side["request"]["dataMasking"] == {"queryParams": [{"value": "*", "mode": "Hide"}]}
        if one.name.endswith("/applicationinsights"):
            assert one.properties["httpCorrelationProtocol"] == "W3C"
            assert one.properties["sampling"] == {"samplingType": "fixed", "percentage": 100}


def test_the_log_of_model_calls_goes_to_the_workspace() -> None:
    """APIM_LLM_LOG=true sends every model call's counts and messages to tables of their own, never to the hub."""
    each = deployed("llm-log")
    (setting,) = each.of_type("Microsoft.Insights/diagnosticSettings")
    assert setting.properties["logAnalyticsDestinationType"] == "Dedicated"
    assert {log["category"] for log in setting.properties["logs"]} == {"GatewayLogs", "GatewayLlmLogs"}
    assert "eventHubAuthorizationRuleId" not in setting.properties
    for one in each.of_type("Microsoft.ApiManagement/service/apis/diagnostics"):
        if one.name.endswith("/azuremonitor"):
            assert one.properties["sampling"]["percentage"] == 100
            assert one.properties["largeLanguageModel"]["logs"] == "enabled"
