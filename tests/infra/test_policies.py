"""The policies of API Management: their form, and each rule that another part relies on."""

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

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
    assert len(expressions) == {"api.xml": 4, "token.xml": 0, "token-limit.xml": 1}[path.name]
    everything = Context(Named("s"), Named("p"), Named("u"), Variables(jwt=Jwt(Claims(oid="o", azp="a"))))
    for expression in expressions:
        assert evaluate(expression, everything) in {"s", "p", "o", "a"}
        assert evaluate(expression, Context()) in {"", "none"}


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


def test_the_named_values_exist() -> None:
    """api.bicep creates every {{named value}} in a policy, and the policy depends on all of them."""
    file = Template(APIM.parent / "api.bicep")
    used = {name for path in APIM.glob("*.xml") for name in re.findall(r"\{\{([\w-]+)\}\}", path.read_text())}
    made = {each["name"] for each in file.variables["plainValues"]} | {file.resources["functionKey"].body["name"]}
    assert used == made == set(VALUES)
    assert file.resources["policy"].body["dependsOn"] == ["functionKey", "values"]
    assert file.resources["policy"].body["properties"]["format"] == "xml"


def test_api_bicep_has_the_same_options() -> None:
    """It inserts the files that the tests insert, at the marks in api.xml."""
    text = Template(APIM.parent / "api.bicep").text
    marks = dict(re.findall(r"'<!-- option: ([\w-]+) -->'.*loadTextContent\('apim/([\w.-]+)'\)", text))
    assert marks == {name: path.name for name, path in OPTIONS.items()}
    assert all(f"<!-- option: {name} -->" in (APIM / "api.xml").read_text() for name in marks)


def test_the_api_fits_azure_openai_clients() -> None:
    """It is at /openai, takes the key where Azure's clients send it, and passes on paths that its document lacks."""
    file = Template(APIM.parent / "api.bicep")
    properties = file.resources["api"].body["properties"]
    assert (properties["path"], properties["subscriptionKeyParameterNames"]["header"]) == ("openai", "api-key")
    assert properties["serviceUrl"].endswith("/openai")
    assert properties["format"] == "openapi+json-link"
    templates = dict(keys_in(file.resources["operations"].body))
    assert templates["urlTemplate"] == "/*"
    assert file.variables["methods"] == ["GET", "POST", "DELETE"]
