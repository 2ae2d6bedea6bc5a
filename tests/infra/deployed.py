"""What the deployments of infra/deployments make, as their snapshots say, which the Bicep compiler worked out."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from infra.deployments.deployments import DEPLOYMENTS

ROOT: Final = Path(__file__).parents[2]
INFRA: Final = ROOT / "infra"
SNAPSHOTS: Final = INFRA / "deployments"

_CLIENT: Final = "33333333-3333-3333-3333-333333333333"
_ID: Final = r"reference\('[^']*/userAssignedIdentities/[^']*', '[^']*'\)\.clientId"
_INSIGHTS: Final = "InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=https://a.in.example/"
_SUFFIX: Final = r"environment\(\)\.suffixes\.storage"

REFERENCES: Final = (
    (r"\[reference\('[^']*/components/[^']*', '[^']*'\)\.ConnectionString\]", _INSIGHTS),
    (rf"\[{_ID}\]", _CLIENT),
    (rf"\[format\('Authorization=AAD;ClientId=\{{0\}}', {_ID}\)\]", f"Authorization=AAD;ClientId={_CLIENT}"),
    (
        rf"\[format\('https://\{{0\}}\.blob\.\{{1\}}/openai-records', '(\w+)', {_SUFFIX}\)\]",
        r"https://\1.blob.core.windows.net/openai-records",
    ),
)
"""What only Azure knows, with realistic values."""


@dataclass(frozen=True)
class Resource:
    """One resource of a snapshot."""

    kind: str
    name: str
    version: str
    id: str
    whole: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.whole.get("properties", {})


@dataclass(frozen=True)
class Deployed:
    """A deployment's resources and outputs."""

    name: str
    resources: tuple[Resource, ...]
    outputs: Mapping[str, Any]
    diagnostics: tuple[str, ...]

    def of_type(self, kind: str) -> list[Resource]:
        return [each for each in self.resources if each.kind.lower() == kind.lower()]

    def one(self, kind: str) -> Resource:
        (found,) = self.of_type(kind)
        return found

    def settings(self) -> dict[str, str]:
        """The app settings of the Function App, or the environment of the container without its secrets."""
        if self.of_type("Microsoft.Web/sites"):
            found = dict(self.one("Microsoft.Web/sites/config").properties)
        else:
            (container,) = self.one("Microsoft.App/containerApps").properties["template"]["containers"]
            found = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        return {name: known(value) for name, value in found.items()}


@cache
def deployed(name: str) -> Deployed:
    found = json.loads((SNAPSHOTS / f"{name}.snapshot.json").read_text())
    resources = tuple(
        Resource(each["type"], each["name"], each["apiVersion"], each["id"], each)
        for each in found["predictedResources"]
    )
    return Deployed(name, resources, found["outputs"], tuple(found["diagnostics"]))


def every() -> list[Deployed]:
    return [deployed(name) for name in DEPLOYMENTS]


def known(value: str) -> str:
    """An app setting with what only Azure knows filled in; raises if something is left."""
    for pattern, realistic in REFERENCES:
        value = re.sub(pattern, realistic, value)
    assert not value.startswith("[") or value.startswith('[{"'), value
    return value


def texts_in(tree: Any) -> Iterator[str]:
    """Every text anywhere in a tree, keys included."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield key
            yield from texts_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts_in(value)
    elif isinstance(tree, str):
        yield tree


def keys_in(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key anywhere in a tree, with its value."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield key, value
            yield from keys_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from keys_in(value)
