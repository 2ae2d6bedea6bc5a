"""The backends in the environment: one by its URL and key, or AZURE_OPENAI_BACKENDS, a list of them in JSON."""

import json
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_MEMBERS: Final = frozenset({"name", "base_url", "key", "priority", "deployments", "kinds", "scope"})
KINDS: Final = frozenset({"openai", "messages", "models"})
SCOPE: Final = "https://cognitiveservices.azure.com/.default"


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One Azure OpenAI resource; `key` None means Entra ID."""

    name: str
    base_url: str
    key: str | None = field(default=None, repr=False)
    priority: int = 0
    deployments: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    """The families of paths that it serves; None: all."""
    scope: str = SCOPE
    """What tokens for it are asked for."""


def endpoint(base_url: str) -> str:
    """The base URL that paths are appended to: no trailing slash, and not the /openai that paths begin with."""
    url = base_url.rstrip("/")
    return url if url.endswith("//openai") else url.removesuffix("/openai")  # there, openai is the host


def read_backends(text: str) -> tuple[tuple[BackendSettings, ...], list[str]]:
    """The backends of AZURE_OPENAI_BACKENDS, and every fault in them; a fault names a place and never a value."""
    name = "AZURE_OPENAI_BACKENDS"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return (), [f"{name} is not valid JSON"]
    if not isinstance(entries, list) or not entries:
        return (), [f"{name} must be a JSON list of at least one object"]
    faults: list[str] = []
    backends = [_read(entry, f"{name}[{index}]", faults) for index, entry in enumerate(entries)]
    names = [backend.name for backend in backends]
    if len(set(names)) != len(names):
        faults.append(f"{name}: every backend needs a unique name")
    return tuple(backends), faults


def _read(entry: object, place: str, faults: list[str]) -> BackendSettings:
    if not isinstance(entry, dict):
        faults.append(f"{place} must be an object")
        return BackendSettings(place, "")
    for member in sorted(set(entry) - _MEMBERS):
        faults.append(f"{place} has an unknown member {member!r}")
    name, base_url, key = entry.get("name"), entry.get("base_url"), entry.get("key")
    if not isinstance(name, str) or not name:
        faults.append(f"{place}.name must be a non-empty string")
    if not isinstance(base_url, str):
        faults.append(f"{place}.base_url must be a URL")
    elif fault := url_fault(base_url):
        faults.append(f"{place}.base_url {fault}")
    if key is not None and not isinstance(key, str):
        faults.append(f"{place}.key must be a string")
    elif key and (fault := key_fault(key)):
        faults.append(f"{place}.key {fault}")
    priority, deployments = entry.get("priority", 0), entry.get("deployments")
    if not isinstance(priority, int) or isinstance(priority, bool):
        faults.append(f"{place}.priority must be an integer")
        priority = 0
    if deployments is not None and not (
        isinstance(deployments, list) and all(isinstance(deployment, str) for deployment in deployments)
    ):
        faults.append(f"{place}.deployments must be a list of names")
        deployments = None
    kinds = entry.get("kinds")
    if kinds is not None and not (isinstance(kinds, list) and kinds and all(kind in KINDS for kind in map(str, kinds))):
        faults.append(f"{place}.kinds must be a list of {', '.join(sorted(KINDS))}")
        kinds = None
    scope = entry.get("scope", SCOPE)
    if not isinstance(scope, str) or not re.fullmatch(r"https://[\w.-]+/\.default", scope):
        faults.append(f"{place}.scope must be of the form https://…/.default")
        scope = SCOPE
    return BackendSettings(
        name=str(name),
        base_url=endpoint(base_url) if isinstance(base_url, str) else "",
        key=key if isinstance(key, str) and key else None,
        priority=priority,
        deployments=None if deployments is None else frozenset(deployments),
        kinds=None if kinds is None else frozenset(kinds),
        scope=scope,
    )


def key_fault(key: str) -> str | None:
    """What is wrong with a key, without repeating it."""
    unfit = any(letter < " " or letter == "\x7f" for letter in key)
    return "contains a character that no header can carry, such as a line break" if unfit else None


def url_fault(url: str) -> str | None:
    """What is wrong with an upstream's URL, without repeating it: it may contain a credential."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be an http or https URL"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "must contain no user, password, query or fragment"
    return None
