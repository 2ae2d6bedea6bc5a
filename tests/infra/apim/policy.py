"""A policy document of API Management, assembled as api.bicep does, with an interpreter for the elements used here.

An element or attribute that the interpreter does not know is an error.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.infra.apim.expression import Claims, Context, Jwt, evaluate

APIM: Final = Path(__file__).parents[3] / "infra/apim"
OPTIONS: Final = {"token": APIM / "token.xml", "token-limit": APIM / "token-limit.xml"}


class Refused(Exception):
    """The gateway itself responds."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = dict(headers or {})


@dataclass
class Request:
    """A request in the inbound section; names of headers and parameters ignore case."""

    headers: list[tuple[str, str]]
    query: list[tuple[str, str]]
    context: Context
    claims: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By valid Entra ID token."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Forward:
    """How to forward the request."""

    timeout: int
    buffer_response: bool


class Policy:
    """The policy of an API with some of its options."""

    def __init__(self, values: Mapping[str, str], *options: str, text: str | None = None) -> None:
        text = text or (APIM / "api.xml").read_text()
        for option, path in OPTIONS.items():
            text = text.replace(f"<!-- option: {option} -->", path.read_text() if option in options else "")
        self.text = re.sub(r"\{\{([\w-]+)\}\}", lambda found: values[found[1]], text)
        self.root = ET.fromstring(self.text)
        self._used: dict[str, int] = {}

    def inbound(self, request: Request) -> None:
        """Apply the inbound section to a request. Raises Refused."""
        for element in self._section("inbound"):
            match element.tag:
                case "base":
                    pass
                case "set-header":
                    request.headers = self._set(element, request.headers, request.context)
                case "set-query-parameter":
                    request.query = self._set(element, request.query, request.context)
                case "validate-azure-ad-token":
                    self._validate(element, request)
                case "llm-token-limit":
                    self._limit(element, request)
                case other:
                    raise ValueError(f"the interpreter knows no inbound <{other}>")

    def forward(self) -> Forward:
        """The backend section, which must forward exactly once."""
        (element,) = self._section("backend")
        assert element.tag == "forward-request"
        assert set(element.attrib) <= {"timeout", "buffer-response"}
        buffers = {"true": True, "false": False}[element.get("buffer-response", "true")]
        return Forward(int(element.get("timeout", "300")), buffers)

    def outbound(self) -> list[str]:
        """The outbound section's elements."""
        return [element.tag for element in self._section("outbound")]

    def use(self, key: str, tokens: int) -> None:
        """Count the tokens of a response."""
        self._used[key] = self._used.get(key, 0) + tokens

    def _section(self, name: str) -> list[ET.Element]:
        (section,) = self.root.findall(name)
        return list(section)

    def _set(self, element: ET.Element, pairs: list[tuple[str, str]], context: Context) -> list[tuple[str, str]]:
        name, action = element.attrib["name"], element.attrib["exists-action"]
        assert set(element.attrib) == {"name", "exists-action"}
        assert action in ("override", "delete")
        kept = [(key, value) for key, value in pairs if key.lower() != name.lower()]
        values = [evaluate(value.text or "", context) for value in element.findall("value")]
        assert bool(values) is (action == "override")
        return [*kept, *((name, value) for value in values)]

    def _validate(self, element: ET.Element, request: Request) -> None:
        scheme, _, token = (request.header(element.attrib["header-name"]) or "").partition(" ")
        claims = request.claims.get(token) if scheme == "Bearer" else None
        audiences = {audience.text for audience in element.iter("audience")}
        if claims is None or claims["tid"] != element.attrib["tenant-id"] or claims["aud"] not in audiences:
            raise Refused(int(element.attrib["failed-validation-httpcode"]))
        request.context.Variables[element.attrib["output-token-variable-name"]] = Jwt(Claims(claims))

    def _limit(self, element: ET.Element, request: Request) -> None:
        key = evaluate(element.attrib["counter-key"], request.context)
        if self._used.get(key, 0) >= int(element.attrib["tokens-per-minute"]):
            raise Refused(429, {element.get("retry-after-header-name", "Retry-After"): "60"})
