"""The policies of API Management: their shape, each rule that another part relies on, and why it is there."""

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from app.settings.settings import DEFAULT_CALLER_HEADERS
from tests.infra.apim.expression import Claims, Context, Jwt, Named, Variables, evaluate
from tests.infra.apim.policy import APIM, OPTIONS, Policy
from tests.infra.bicep import Template, keys_in

VALUES = {
    "openai-proxy-function-key": "the-function-key",
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
    """With any of its options it is XML of the four sections, without an element that would read or log a body."""
    policy = Policy(VALUES, *options)
    assert [section.tag for section in policy.root] == ["inbound", "backend", "outbound", "on-error"]
    assert {element.tag for section in policy.root for element in section.iter()} <= ALLOWED
    assert "option:" not in policy.text
    assert ("validate-azure-ad-token" in policy.text, "llm-token-limit" in policy.text) == (
        "token" in options,
        "token-limit" in options,
    )


@pytest.mark.parametrize("path", [APIM / "api.xml", *OPTIONS.values()], ids=lambda path: path.name)
def test_every_expression_is_of_the_known_shape(path: Path) -> None:
    """Each `@(…)` parses, and comes to a text with and without a subscription, a product, a user and a token."""
    root = ET.fromstring(f"<all>{re.sub(r'{{.*?}}', 'x', path.read_text())}</all>")
    texts = [text for element in root.iter() for text in (element.text or "", *element.attrib.values())]
    expressions = [text for text in texts if "@" in text]
    assert len(expressions) == {"api.xml": 4, "token.xml": 0, "token-limit.xml": 1}[path.name]
    everything = Context(Named("s"), Named("p"), Named("u"), Variables(jwt=Jwt(Claims(oid="o", azp="a"))))
    for expression in expressions:
        assert evaluate(expression, everything) in {"s", "p", "o", "a"}
        assert evaluate(expression, Context()) in {"", "none"}


@pytest.mark.parametrize("text", ["@{ return 1; }", "@(context.Request.Body)", '@("a" + "b")', "@(context.", "@(x)"])
def test_another_shape_is_refused(text: str) -> None:
    """What is not in the part of C# that is used here, or of .NET, does not pass for checked."""
    with pytest.raises((SyntaxError, AttributeError, IndexError, KeyError)):
        evaluate(text, Context())


def test_a_stream_is_not_held() -> None:
    """Each chunk is passed on at once; nothing is retried, and the wait ends where the Function App hangs up: 230 s."""
    policy = Policy(VALUES)
    assert (policy.forward().buffer_response, policy.forward().timeout) == (False, 230)
    assert policy.outbound() == ["base"]


def test_the_proxys_caller_headers_are_the_gateways() -> None:
    """Of the headers by which the proxy knows a caller, the gateway overrides every one but the client's session."""
    known = {pair.partition("=")[2] for pair in DEFAULT_CALLER_HEADERS.split(",")}
    overridden = {
        element.attrib["name"]: element.attrib["exists-action"]
        for element in Policy(VALUES).root.iter("set-header")
        if element.attrib["name"].startswith("x-apim-")
    }
    assert overridden == dict.fromkeys(known - {"x-session-id"}, "override")


def test_every_rule_says_why() -> None:
    """Right above each rule, or the group of rules it belongs to, stands a comment."""
    lines = (APIM / "api.xml").read_text().splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"    <(set-|forward)", line) and not re.search(r"-->$|<set-\S.*/>$|</set-header>$", before)
    ]
    assert bare == []
    for path in OPTIONS.values():
        assert path.read_text().startswith("<!--")


def test_the_named_values_are_made() -> None:
    """Every {{named value}} in a policy is one that api.bicep makes, and the policy waits for all of them."""
    file = Template(APIM.parent / "api.bicep")
    used = {name for path in APIM.glob("*.xml") for name in re.findall(r"\{\{([\w-]+)\}\}", path.read_text())}
    made = {each["name"] for each in file.variables["plainValues"]} | {file.resources["functionKey"].body["name"]}
    assert used == made == set(VALUES)
    assert file.resources["policy"].body["dependsOn"] == ["functionKey", "values"]
    assert file.resources["policy"].body["properties"]["format"] == "xml"


def test_the_options_are_those_of_the_deployment() -> None:
    """api.bicep puts in the files that the tests put in, at the marks that are there."""
    text = Template(APIM.parent / "api.bicep").text
    marks = dict(re.findall(r"'<!-- option: ([\w-]+) -->'.*loadTextContent\('apim/([\w.-]+)'\)", text))
    assert marks == {name: path.name for name, path in OPTIONS.items()}
    assert all(f"<!-- option: {name} -->" in (APIM / "api.xml").read_text() for name in marks)


def test_clients_of_azure_openai_find_it() -> None:
    """The API is at /openai, takes the key where Azure's clients put it, and passes on what its description lacks."""
    file = Template(APIM.parent / "api.bicep")
    properties = file.resources["api"].body["properties"]
    assert (properties["path"], properties["subscriptionKeyParameterNames"]["header"]) == ("openai", "api-key")
    assert properties["serviceUrl"].endswith("/openai")
    assert properties["format"] == "openapi+json-link"
    templates = dict(keys_in(file.resources["operations"].body))
    assert templates["urlTemplate"] == "/*"
    assert file.variables["methods"] == ["GET", "POST", "DELETE"]
