"""The record's `request`: every member of a JSON body beside its prompt and instructions, as it was sent."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operations.members import Members, other_members, reduced_members
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.scripts import answering
from tests.kit.wire import CHAT, PROMPT, client

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
MEMBERS: dict[str, Any] = {
    "model": "gpt",
    "temperature": 1.0,
    "n": 1,
    "stop": None,
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "metadata": {"team": "red"},
    "user": "someone",
    "store": True,
    "logit_bias": {"50256": -100},
    "unknown": [1, {"deep": "text"}],
}
REDUCED = {"model": "gpt", "temperature": 1.0, "n": 1, "tool_choice": "auto", "store": True}


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("members")) as started:
        started.play(answering)
        yield started


def recorded(stage: Stage, hub: HubReader, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    with client(stage.url) as caller:
        answer = caller.send("POST", path, json.dumps(body).encode(), **headers)
        answer.read()
    return hub.record(answer.trace_id)


@pytest.mark.parametrize(
    ("path", "apart"),
    [
        (CHAT, {"messages": PROMPT}),
        ("/openai/v1/completions", {"prompt": "a"}),
        ("/openai/v1/embeddings", {"input": ["a"]}),
        ("/openai/v1/responses", {"input": "a", "instructions": "b"}),
        ("/openai/v1/images/generations", {"prompt": "a"}),
        ("/openai/v1/audio/speech", {"input": "a", "instructions": "b"}),
    ],
)
def test_every_other_member_is_recorded(stage: Stage, hub: HubReader, path: str, apart: dict[str, Any]) -> None:
    """Values and order are the client's; what has a field of its own is not repeated."""
    record = recorded(stage, hub, path, {**MEMBERS, **apart})
    assert list(record["request"].items()) == list(MEMBERS.items())
    assert record["prompt"] == next(iter(apart.values()))
    assert record.get("instructions") == apart.get("instructions")


def test_a_stored_prompt_beside_the_input_belongs_to_the_request(stage: Stage, hub: HubReader) -> None:
    """Without input it is the prompt; instructions that are null stay among the members."""
    stored = {"id": "pmpt_1", "variables": {"a": "b"}}
    beside = recorded(stage, hub, "/openai/v1/responses", {"input": "a", "prompt": stored, "instructions": None})
    assert (beside["prompt"], beside["request"]) == ("a", {"prompt": stored, "instructions": None})
    alone = recorded(stage, hub, "/openai/v1/responses", {"model": "m", "prompt": stored})
    assert (alone["prompt"], alone["request"]) == (stored, {"model": "m"})


def test_what_a_response_continues_is_recorded(stage: Stage, hub: HubReader) -> None:
    """By the names of its own fields as well."""
    for conversation in ("conv_1", {"id": "conv_1"}):
        body = {"input": "a", "previous_response_id": "resp_0", "conversation": conversation}
        record = recorded(stage, hub, "/openai/v1/responses", body)
        assert (record["previous_response_id"], record["conversation_id"]) == ("resp_0", "conv_1")


def test_without_content_only_numbers_booleans_and_the_apis_words_are_left(stage: Stage, hub: HubReader) -> None:
    """No text, and no name, that a client chose."""
    record = recorded(stage, hub, CHAT, {**MEMBERS, "messages": PROMPT}, x_proxy_content="none")
    assert (record["prompt"], record["request"]) == (None, REDUCED)
    body = {
        "input": "a",
        "service_tier": "flex",
        "truncation": "made up",
        "reasoning": {"effort": "high", "summary": "auto", "x": 1, "y": {"z": 1}},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "strict": True}},
        "tool_choice": {"type": "function", "name": "f"},
        "metadata": {"score": 5},
        "A text": 1,
    }
    assert recorded(stage, hub, "/openai/v1/responses", body, x_proxy_content="none")["request"] == {
        "service_tier": "flex",
        "reasoning": {"effort": "high", "x": 1},
        "text": {"verbosity": "low"},
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6))
def test_any_members_come_back(body: dict[str, Any]) -> None:
    """Whatever JSON they hold; and reduced, no text of theirs is left."""
    members = Members.of(json.dumps(body).encode())
    assert json.loads(other_members(members, {"messages"})) == {k: v for k, v in body.items() if k != "messages"}
    reduced = json.loads(reduced_members(members, set()))
    assert all(isinstance(value, bool | int | float) for name, value in reduced.items() if name != "model")


def test_a_redacted_request(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """PROXY_REDACT applies to every text of it."""
    running = proxy(upstream(answering).url, PROXY_REDACT='["secret-\\\\d+"]')
    body = {"messages": [], "user": "secret-1", "metadata": {"secret-2": "a secret-3"}}
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(body).encode())
        answer.read()
    text = json.dumps(hub.record(answer.trace_id))
    assert "secret-" not in text
    assert '"metadata"' in text
