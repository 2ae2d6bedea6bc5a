"""AZURE_OPENAI_BACKENDS: each backend with its defaults, each fault with its place."""

import json

import pytest

from app.settings.backends import BackendSettings
from tests.app.settings.environment import SECRET, faults, read


def test_several_backends() -> None:
    """AZURE_OPENAI_BACKENDS replaces URL and key; omitted members have their defaults."""
    east = {"name": "east", "base_url": "https://east.example/", "key": "upstream-secret", "priority": 1}
    west = {"name": "west", "base_url": "https://west.example/openai", "deployments": ["gpt-4.1"]}
    settings = read(AZURE_OPENAI_BACKENDS=json.dumps([east, west]), AZURE_OPENAI_BASE_URL="", AZURE_OPENAI_KEY="x")
    assert settings.backends == (
        BackendSettings("east", "https://east.example", "upstream-secret", 1, None),
        BackendSettings("west", "https://west.example", None, 0, frozenset({"gpt-4.1"})),
    )
    assert "secret" not in repr(settings)


def test_what_a_backend_serves() -> None:
    """Families of paths, and the scope of its tokens."""
    scope = "https://ai.azure.com/.default"
    claude = {"name": "c", "base_url": "https://c.example", "kinds": ["messages", "models"], "scope": scope}
    (backend,) = read(AZURE_OPENAI_BACKENDS=json.dumps([claude])).backends
    assert (backend.kinds, backend.scope) == (frozenset({"messages", "models"}), scope)
    (plain,) = read().backends
    assert (plain.kinds, plain.scope) == (None, "https://cognitiveservices.azure.com/.default")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://a.example/openai/", "https://a.example"),
        ("https://a.example/x/openai", "https://a.example/x"),
        ("http://openai", "http://openai"),
        ("http://openai/", "http://openai"),
        ("http://openai/openai", "http://openai"),
    ],
)
def test_a_trailing_openai_is_removed_from_the_base_url(given: str, taken: str) -> None:
    """The /openai that every path begins with is removed, but not a host of that name."""
    (backend,) = read(AZURE_OPENAI_BASE_URL=given).backends
    assert backend.base_url == taken


@pytest.mark.parametrize(
    ("backends", "places"),
    [
        ("planted-secret", [""]),
        ("[" * 100_000, [""]),
        ("[]", [""]),
        ("{}", [""]),
        ('["planted-secret"]', ["[0]"]),
        ('[{"name": "a", "base_url": "https://a.example"}, {"name": "a", "base_url": "https://b.example"}]', [":"]),
        ('[{"name": "a", "base_url": "https://a.example", "region": "planted-secret"}]', ["[0]"]),
        ('[{"name": "a", "base_url": "https://a.example", "key": "planted-secret\\n"}]', ["[0].key"]),
        ('[{"name": "a", "base_url": "https://a.example", "kinds": ["planted-secret"]}]', ["[0].kinds"]),
        ('[{"name": "a", "base_url": "https://a.example", "kinds": []}]', ["[0].kinds"]),
        ('[{"name": "a", "base_url": "https://a.example", "scope": "planted-secret"}]', ["[0].scope"]),
        ('[{"name": "", "base_url": "planted-secret"}]', ["[0].name", "[0].base_url"]),
        (
            '[{"name": "a", "base_url": "https://planted-secret@a.example", "key": 1, "priority": "planted-secret",'
            ' "deployments": "planted-secret"}, {"key": "planted-secret"}]',
            ["[0].base_url", "[0].key", "[0].priority", "[0].deployments", "[1].name", "[1].base_url"],
        ),
    ],
)
def test_faults_in_backends_name_their_place(backends: str, places: list[str]) -> None:
    """Each fault names its place in the list and shows no value."""
    found = faults(AZURE_OPENAI_BACKENDS=backends)
    assert [fault.split()[0] for fault in found] == [f"AZURE_OPENAI_BACKENDS{place}" for place in places]
    assert SECRET not in "".join(found)
