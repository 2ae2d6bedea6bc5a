"""What is counted of a call: its texts, and the tokens around them."""

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.estimate import MAX_CHARS, PIECE, Texts, count, encoding_of, pieces
from otel.call import Answer, Choice, ToolCall
from tests.app.answer.tokenizers import NEW, OLD, Words

QUESTION = "Tell me a joke about opentelemetry"

MESSAGES = {"messages": [{"role": "user", "content": QUESTION}]}


@pytest.mark.parametrize(
    ("model", "body", "prompt_tokens"),
    [
        ("gpt-4.1-mini-2025-04-14", MESSAGES, 16),
        ("gpt-35-turbo", MESSAGES, 15),
        ("text-embedding-3-large", {"input": QUESTION}, 8),
        ("davinci-002", {"prompt": QUESTION}, 8),
    ],
)
def test_prompt_counts_match_the_service(tokenizers: Any, model: str, body: dict[str, Any], prompt_tokens: int) -> None:
    """Recorded responses of the service have exactly these counts, overhead of messages included."""
    request = Texts.of_request(body, chat="messages" in body)
    counted = count(tokenizers[encoding_of(model)], request.texts)
    assert counted is not None
    assert counted + request.fixed == prompt_tokens


def test_tool_counts_are_close_to_those_of_the_service(tokenizers: Any) -> None:
    """A recorded call with a tool was reported as 53 tokens in and, with the tool call, 15 out."""
    parameters = {
        "type": "object",
        "properties": {"country": {"type": "string"}},
        "required": ["country"],
        "additionalProperties": False,
    }
    body = {
        "messages": [{"role": "user", "content": "What is the capital of the UK? Use the tool, then answer."}],
        "tools": [
            {"type": "function", "function": {"name": "get_capital", "description": "", "parameters": parameters}}
        ],
    }
    answer = Texts.of_answer(Answer(choices=[Choice(tool_calls=[ToolCall("1", "get_capital", '{"country":"UK"}')])]))
    for texts, reported in ((Texts.of_request(body, chat=True), 53), (answer, 15)):
        counted = count(tokenizers[NEW], texts.texts)
        assert counted is not None
        assert abs(counted + texts.fixed - reported) <= 1


@pytest.mark.parametrize(
    ("encoding", "models"),
    [
        (NEW, ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4.1-mini", "gpt-4.5", "gpt4o", "gpt-5-nano", "o1", "o3-mini", "x"]),
        (OLD, ["gpt-4", "gpt-4-32k", "gpt-4-turbo-2024-04-09", "gpt-35-turbo", "gpt-3.5-turbo", "our-gpt-35"]),
        (OLD, ["text-embedding-ada-002", "text-embedding-3-small", "davinci-002", "babbage-002"]),
    ],
)
def test_a_model_has_its_encoding(encoding: str, models: list[str]) -> None:
    """Models, and deployments named after them, use their own vocabulary, unknown ones the newest."""
    assert {model: encoding_of(model) for model in models} == dict.fromkeys(models, encoding)
    assert encoding_of(None) == NEW


def of_request(body: dict[str, Any], chat: bool = True) -> tuple[list[str], int]:
    texts = Texts.of_request(body, chat)
    return texts.texts, texts.fixed


def test_messages_are_counted() -> None:
    """Roles, names, text parts, tool calls and results count; each message and the reply add 3 tokens."""
    body = {
        "messages": [
            {"role": "system", "content": "be brief", "name": "boss"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "not", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "not", "content": "42"},
        ]
    }
    texts = ["system", "be brief", "boss", "user", "look", "here", "assistant", "f", "{}", "tool", "42"]
    assert of_request(body) == (texts, 3 + 4 * 3 + 2)


def test_input_and_instructions_of_responses_are_counted() -> None:
    """Both count as messages, as text or as items."""
    assert of_request({"instructions": "", "input": "hi"}) == (["user", "hi"], 3 + 3)
    assert of_request({"instructions": "be brief", "input": "hi"}) == (["user", "be brief", "user", "hi"], 3 + 2 * 3)
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "not", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "not", "output": "42"},
        {"type": "reasoning", "id": "not", "summary": [{"type": "summary_text", "text": "hm"}]},
    ]
    assert of_request({"input": items}) == (["user", "hi", "f", "{}", "42", "hm"], 3 + 4 * 3 + 1)


def test_bare_prompts_are_counted() -> None:
    """Texts, lists of texts, and token ids count without any overhead."""
    assert of_request({"prompt": "one"}, chat=False) == (["one"], 0)
    assert of_request({"input": ["one", "two"]}, chat=False) == (["one", "two"], 0)
    assert of_request({"input": [1, 2, 3]}, chat=False) == ([], 3)
    assert of_request({"prompt": [[1, 2], [3]]}, chat=False) == ([], 3)


def test_images_are_counted_by_their_detail() -> None:
    """An image counts as one of ordinary size; its bytes are not counted as text."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999, "detail": "low"}}
    other = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 9999}
    assert of_request({"messages": [{"content": [image, other]}]}) == ([], 3 + 3 + 85 + 765)


def test_tools_and_schemas_are_counted() -> None:
    """Tool definitions count by OpenAI's rule, in either API's shape, as does a schema for the output."""
    parameters = {
        "properties": {
            "place": {"type": "string", "description": "a city"},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": "array", "items": {"type": "integer"}},
        }
    }
    function = {"name": "weather", "description": "tells it", "parameters": parameters}
    texts = ["weather:tells it", "place:string:a city", "unit:string:", "C", "F", "days:array:", '{"type":"integer"}']
    fixed = 3 + 12 + 7 + 3 + 3 * 3 - 3 + 2 * 3
    assert of_request({"tools": [{"type": "function", "function": function}]}) == (texts, fixed)
    assert of_request({"tools": [{"type": "function", **function}]}) == (texts, fixed)
    assert of_request({"functions": [function]}) == (texts, fixed)
    assert of_request({"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}}) == (
        ['{"a":1}'],
        3,
    )
    assert of_request({"text": {"format": {"type": "json_schema", "schema": {"a": 1}}}}) == (['{"a":1}'], 3)


JSON = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["content", "text", "type", "tool_calls", "function", "properties"]), inner),
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "input", "prompt", "instructions", "tools", "text", "functions"]), JSON
    ),
    st.booleans(),
)
def test_any_body_can_be_counted(body: dict[str, Any], chat: bool) -> None:
    """Any JSON yields texts and a fixed count."""
    texts, fixed = of_request(body, chat)
    assert all(isinstance(text, str) for text in texts)
    assert fixed >= 0


@pytest.mark.parametrize("opening", ['{"content":[', "["])
def test_nesting_is_limited(opening: str) -> None:
    """A deeply nested body is read only to a limited depth."""
    nested: Any = []
    for _ in range(900):
        nested = [nested] if opening == "[" else {"content": [nested]}
    assert of_request({"messages": nested, "prompt": nested})
    assert of_request({"input": nested}, chat=False) == ([], 0)


@given(st.lists(st.text(alphabet=" ab\U0001f600", max_size=12), max_size=60).map(lambda parts: "".join(parts) * 40))
def test_pieces_join_to_the_text(text: str) -> None:
    """No character is lost or repeated, and no piece exceeds the limit."""
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= PIECE for piece in found)


def test_pieces_hardly_change_the_count(tokenizers: Any) -> None:
    """Counting in pieces changes the result by at most one token in a thousand."""
    text = "Latency has two parts, says chapter 17: what you wait for, and what you read. " * 2000
    whole = tokenizers[NEW].count(text)
    assert count(tokenizers[NEW], [text]) == pytest.approx(whole, rel=1e-3)


def test_long_texts_are_extrapolated() -> None:
    """At most a million characters are counted, fewer if the time is over."""
    tokenizer = Words()
    assert count(tokenizer, ["x" * (5 * MAX_CHARS)]) == 5 * MAX_CHARS
    assert tokenizer.largest == PIECE
    assert count(tokenizer, ["x" * 100], until=time.monotonic() - 1) is None
    slow = SlowTokenizer(time.monotonic() + 1.0)
    assert count(slow, ["x" * 100 * PIECE], until=slow.until) == 100 * PIECE


class SlowTokenizer:
    """Takes all the time for its first piece."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.calls = 0

    def count(self, text: str) -> int:
        self.calls += 1
        assert self.calls == 1
        while time.monotonic() < self.until:
            time.sleep(0.005)
        return len(text)


def test_a_lone_surrogate_is_counted() -> None:
    """It is valid in JSON, but not in UTF-8."""
    assert count(Words(), ["a\ud800b"]) == 3


def test_counting_yields_to_other_threads() -> None:
    """While a long text is counted, another thread waits for one piece at most."""

    class Holding:
        """Holds the GIL while it counts, as the real one does."""

        def count(self, text: str) -> int:
            sum(range(10_000))
            return len(text)

    turns = 0
    done = threading.Event()

    def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=others)
    thread.start()
    count(Holding(), ["x" * 200 * PIECE])
    done.set()
    thread.join()
    assert turns > 100
