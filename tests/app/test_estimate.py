"""Usage that upstream did not report: counted from the texts, in its time, and never invented."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.estimate import CALL_S, MAX_LETTERS, PIECE, Estimator, Texts, count, encoding_of, load_tokenizer, pieces
from otel.call import Answer, Call, Choice, Request, Status, ToolCall, Usage
from tests.kit.hub import Broker, HubReader, wait_until
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, STREAM, TEXT, USAGE, chat_body, client

QUESTION = "Tell me a joke about opentelemetry"
MESSAGES = {"messages": [{"role": "user", "content": QUESTION}]}
NEW, OLD = "o200k_base", "cl100k_base"


class Words:
    """A tokenizer of a vocabulary that can be counted by heart: a letter is a token."""

    def __init__(self) -> None:
        self.largest = 0

    def count(self, text: str) -> int:
        text.encode()
        self.largest = max(self.largest, len(text))
        return len(text)


@pytest.fixture(scope="module", autouse=True)
def tokenizers() -> dict[str, Any]:
    """Both, read once for all tests: how long that takes is not what they are about."""
    return {encoding: load_tokenizer(encoding) for encoding in (NEW, OLD)}


@pytest.mark.parametrize(
    ("model", "body", "prompt_tokens"),
    [
        ("gpt-4.1-mini-2025-04-14", MESSAGES, 16),
        ("gpt-35-turbo", MESSAGES, 15),
        ("text-embedding-3-large", {"input": QUESTION}, 8),
        ("davinci-002", {"prompt": QUESTION}, 8),
    ],
)
def test_prompts_count_as_the_service_counts_them(
    tokenizers: Any, model: str, body: dict[str, Any], prompt_tokens: int
) -> None:
    """Recorded answers of the service reported just these counts, messages' overhead included."""
    asked = Texts.asked(body, chat="messages" in body)
    counted = count(tokenizers[encoding_of(model)], asked.texts)
    assert counted is not None
    assert counted + asked.fixed == prompt_tokens


def test_tools_count_about_as_the_service_counts_them(tokenizers: Any) -> None:
    """A recorded call with a tool was reported to be 53 tokens in and, with the call of that tool, 15 out."""
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
    said = Texts.said(Answer(choices=[Choice(tool_calls=[ToolCall("1", "get_capital", '{"country":"UK"}')])]))
    for texts, reported in ((Texts.asked(body, chat=True), 53), (said, 15)):
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
    """Models and deployments named after them are counted by their own vocabulary, unknown ones by the newest."""
    assert {model: encoding_of(model) for model in models} == dict.fromkeys(models, encoding)
    assert encoding_of(None) == NEW


def asked(body: dict[str, Any], chat: bool = True) -> tuple[list[str], int]:
    texts = Texts.asked(body, chat)
    return texts.texts, texts.fixed


def test_what_is_counted_of_messages() -> None:
    """Roles, names, text parts, tool calls and their results are; each message and the reply are 3 tokens more."""
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
    assert asked(body) == (texts, 3 + 4 * 3 + 2)


def test_what_is_counted_of_responses() -> None:
    """Input and instructions are messages, as text or as items."""
    assert asked({"instructions": "", "input": "hi"}) == (["user", "hi"], 3 + 3)
    assert asked({"instructions": "be brief", "input": "hi"}) == (["user", "be brief", "user", "hi"], 3 + 2 * 3)
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "not", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "not", "output": "42"},
        {"type": "reasoning", "id": "not", "summary": [{"type": "summary_text", "text": "hm"}]},
    ]
    assert asked({"input": items}) == (["user", "hi", "f", "{}", "42", "hm"], 3 + 4 * 3 + 1)


def test_what_is_counted_of_bare_prompts() -> None:
    """Texts, lists of texts, and tokens that the client has already counted; without any overhead."""
    assert asked({"prompt": "one"}, chat=False) == (["one"], 0)
    assert asked({"input": ["one", "two"]}, chat=False) == (["one", "two"], 0)
    assert asked({"input": [1, 2, 3]}, chat=False) == ([], 3)
    assert asked({"prompt": [[1, 2], [3]]}, chat=False) == ([], 3)


def test_pictures_are_counted_by_their_detail() -> None:
    """A picture costs what one of ordinary size does; its bytes are no text."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999, "detail": "low"}}
    other = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 9999}
    assert asked({"messages": [{"content": [picture, other]}]}) == ([], 3 + 3 + 85 + 765)


def test_tools_and_schemas_are_counted() -> None:
    """Definitions of tools count by OpenAI's rule, in either API's shape, and so does a schema for the answer."""
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
    assert asked({"tools": [{"type": "function", "function": function}]}) == (texts, fixed)
    assert asked({"tools": [{"type": "function", **function}]}) == (texts, fixed)
    assert asked({"functions": [function]}) == (texts, fixed)
    assert asked({"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}}) == (['{"a":1}'], 3)
    assert asked({"text": {"format": {"type": "json_schema", "schema": {"a": 1}}}}) == (['{"a":1}'], 3)


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
def test_no_body_is_a_fault(body: dict[str, Any], chat: bool) -> None:
    """Whatever upstream may have been sent, something countable comes of it."""
    texts, fixed = asked(body, chat)
    assert all(isinstance(text, str) for text in texts)
    assert fixed >= 0


@pytest.mark.parametrize("opening", ['{"content":[', "["])
def test_no_nesting_is_too_deep(opening: str) -> None:
    """A body nested without end is looked into only so far."""
    nested: Any = []
    for _ in range(900):
        nested = [nested] if opening == "[" else {"content": [nested]}
    assert asked({"messages": nested, "prompt": nested})
    assert asked({"input": nested}, chat=False) == ([], 0)


@given(st.lists(st.text(alphabet=" ab\U0001f600", max_size=12), max_size=60).map(lambda parts: "".join(parts) * 40))
def test_pieces_are_the_text(text: str) -> None:
    """No letter is lost or counted twice, and no piece is longer than is fair to others."""
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= PIECE for piece in found)


def test_pieces_hardly_change_the_count(tokenizers: Any) -> None:
    """A text counted in pieces has the tokens that it has as a whole, but for one in some thousand."""
    text = "Latency has two parts, says chapter 17: what you wait for, and what you read. " * 2000
    whole = tokenizers[NEW].count(text)
    assert count(tokenizers[NEW], [text]) == pytest.approx(whole, rel=1e-3)


def test_what_is_too_long_is_taken_to_be_like_the_rest() -> None:
    """A million letters are counted, however many there are; time that is over has the same effect."""
    tokenizer = Words()
    assert count(tokenizer, ["x" * (5 * MAX_LETTERS)]) == 5 * MAX_LETTERS
    assert tokenizer.largest == PIECE
    assert count(tokenizer, ["x" * 100], until=time.monotonic() - 1) is None
    slow = SlowTokenizer(time.monotonic() + 0.05)
    assert count(slow, ["x" * 100 * PIECE], until=slow.until) == 100 * PIECE


class SlowTokenizer:
    """Takes all the time there is for its first piece."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.asked = 0

    def count(self, text: str) -> int:
        self.asked += 1
        assert self.asked == 1
        while time.monotonic() < self.until:
            time.sleep(0.005)
        return len(text)


def test_half_a_letter_is_counted() -> None:
    """A lone surrogate, which JSON can hold and UTF-8 cannot, counts as something."""
    assert count(Words(), ["a\ud800b"]) == 3


def test_counting_takes_turns() -> None:
    """While a long text is counted, another thread is never kept waiting for more than a piece."""

    class Holding:
        """Counts as the real one does: without letting anybody else run."""

        def count(self, text: str) -> int:
            sum(range(2000))
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


def call(**more: Any) -> Call:
    given: dict[str, Any] = {"request": Request(model="gpt-4o"), "http_status": 200, **more}
    return Call("chat", **given)


BODY = json.dumps({"messages": [{"role": "user", "content": "12345"}]}).encode()


def estimated(subject: Call, sent: bytes | None = BODY, load: Any = lambda encoding: Words()) -> Answer:
    estimator = Estimator(load)
    assert estimator.applies(subject)
    asyncio.run(estimator.estimate(subject, sent))
    return subject.answer


def test_both_sides_are_counted() -> None:
    """The prompt with its overhead; all choices with refusals, reasoning and tool calls."""
    answer = Answer(choices=[Choice(0, "abc", "d", "ef", [ToolCall("1", "g", "hi")]), Choice(1, "j")])
    found = estimated(call(answer=answer))
    assert found.usage == Usage(3 + 3 + 4 + 5, 3 + 1 + 2 + 1 + 2 + 7 + 1, 15 + 17)
    assert found.usage_source == "estimated"


def test_what_was_not_said_is_not_zero() -> None:
    """Where upstream took the prompt and nothing came of it, the completion is unknown."""
    assert estimated(call(status=Status.CLIENT_ABORTED)).usage == Usage(15, None, 15)


@pytest.mark.parametrize(
    "more",
    [
        {"http_status": None, "status": Status.CLIENT_ABORTED},
        {"http_status": 429, "status": Status.UPSTREAM_ERROR},
        {"status": Status.UPSTREAM_ERROR},
        {"answer": Answer(usage=Usage(1, 2, 3), usage_source="reported")},
        {"answer": Answer(truncated=True)},
    ],
)
def test_where_there_is_nothing_to_estimate(more: dict[str, Any]) -> None:
    """No answer, an error, a reported usage, an answer that could not be read: no estimate."""
    assert not Estimator().applies(call(**more))


@pytest.mark.parametrize("operation", ["image_generation", "speech", "transcription", "call"])
def test_other_operations_have_no_estimate(operation: str) -> None:
    """What pictures and sound cost does not show in texts."""
    assert not Estimator().applies(Call(operation, http_status=200))


def test_without_a_tokenizer_usage_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    """A package that is not there is said once, and hurts no call."""
    tries = []

    def load(encoding: str) -> Any:
        tries.append(encoding)
        raise ImportError("not there")

    estimator = Estimator(load)
    for _ in range(3):
        subject = call()
        asyncio.run(estimator.estimate(subject, BODY))
        assert (subject.answer.usage, subject.answer.usage_source) == (None, "missing")
    assert tries == [NEW]
    assert caplog.text.count("not there") == 1


def test_vocabularies_are_read_when_needed() -> None:
    """None before the first estimate, each once, and only those that are needed."""
    loaded: list[str] = []

    def load(encoding: str) -> Words:
        loaded.append(encoding)
        return Words()

    estimator = Estimator(load)
    assert loaded == []
    for model in ("gpt-4o", "gpt-4.1", "gpt-4", "gpt-4"):
        asyncio.run(estimator.estimate(call(request=Request(model=model)), BODY))
    assert loaded == [NEW, OLD]


def test_it_ends_in_its_time() -> None:
    """A tokenizer that hangs costs a call its estimate, after a second, and those behind it no more."""
    hang = threading.Event()

    class Hanging:
        def count(self, text: str) -> int:
            hang.wait(20)
            return 1

    async def three() -> list[Call]:
        calls = [call() for _ in range(3)]
        estimator = Estimator(lambda encoding: Hanging())
        await asyncio.gather(*(estimator.estimate(subject, BODY) for subject in calls))
        hang.set()
        return calls

    start = time.monotonic()
    calls = asyncio.run(three())
    assert CALL_S <= time.monotonic() - start < 10
    assert {subject.answer.usage_source for subject in calls} == {"missing"}


@pytest.mark.parametrize("sent", [None, b"[]", b'{"messages":[{"content":"' + b"x" * (8 << 20) + b'"}]}'])
def test_without_a_body_there_is_no_estimate(sent: bytes | None) -> None:
    """A body that passed by unread, or is too large to be read again, is not counted."""
    body_less = Call("text_completion", http_status=200)
    assert estimated(body_less, sent).usage is None


def streaming(events: list[bytes], then: Callable[[Reply], Any] = Reply.end) -> Any:
    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in events:
            await reply.chunk(one)
        ended = then(reply)
        if ended is not None:
            await ended

    return script


def test_a_stream_without_usage_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Where usage is not asked for and not sent, the record has what the texts come to, close to what they cost."""
    server = upstream(streaming(STREAM))
    with client(proxy(server.url, PROXY_STREAM_USAGE="off").url) as caller:
        answer = caller.chat(stream=True)
        assert answer.read() == b"".join(STREAM)
    record = hub.record(answer.trace_id)
    assert record["usage_source"] == "estimated"
    prompt, completion = record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]
    assert abs(prompt - USAGE["prompt_tokens"]) <= 2  # type: ignore[operator]
    assert abs(completion - USAGE["completion_tokens"]) <= 2  # type: ignore[operator]
    assert record["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def test_usage_without_content_is_estimated_too(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """PROXY_CONTENT=none: the counts are there, and nothing of what was counted."""
    server = upstream(streaming(STREAM))
    with client(proxy(server.url, PROXY_STREAM_USAGE="off", PROXY_CONTENT="none").url) as caller:
        answer = caller.chat(stream=True)
        answer.read()
    record = hub.record(answer.trace_id)
    assert record["usage_source"] == "estimated"
    assert record["usage"]["completion_tokens"] > 0
    assert (record["prompt"], record["content"], record["content_captured"]) == (None, "", False)


def test_a_stream_that_broke_off_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """upstream_cut: what came was generated, and is counted."""
    server = upstream(streaming(STREAM[:5]))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["status"], record["usage_source"]) == ("upstream_cut", "estimated")
    assert record["usage"]["completion_tokens"] == 3


def test_an_aborted_call_is_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """client_aborted: the client pays for what it did not wait for, and the record says about how much."""
    server = upstream(streaming(STREAM[:5], Reply.hung_up))
    with client(proxy(server.url).url) as caller:
        answer = caller.chat(stream=True)
        trace_id, received = answer.trace_id, b""
        while received != b"".join(STREAM[:5]):
            received += answer.some()
    record = hub.record(trace_id)
    assert (record["status"], record["usage_source"]) == ("client_aborted", "estimated")
    assert record["content"] == TEXT[: len("Why did the")]
    assert record["usage"]["completion_tokens"] == 3


def test_an_error_is_not_estimated(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """What upstream refused costs nothing, and is not said to cost zero."""
    server = upstream(lambda request, reply: reply.json(b'{"error":{"code":"x","message":"y"}}', 400))
    with client(proxy(server.url).url) as caller:
        answer = caller.send("POST", CHAT, chat_body())
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["usage"], record["usage_source"]) == (None, "missing")


def test_calls_cut_by_shutdown_are_estimated_in_time(upstream: Any, process: Any, broker: Broker) -> None:
    """interrupted: twenty streams that are open at SIGTERM have their records, with usage, and the process its time."""

    async def script(request: Seen, reply: Reply) -> None:
        await streaming(STREAM[:5], Reply.end if request.header("x-ends") else Reply.hung_up)(request, reply)

    running = process(upstream(script).url, PROXY_SHUTDOWN_SECONDS="4")
    with client(running.url) as caller:
        caller.chat(stream=True, x_ends="yes").read()  # has the vocabulary read
    callers = [client(running.url) for _ in range(20)]
    answers = [caller.__enter__().chat(stream=True) for caller in callers]
    trace_ids = [answer.trace_id for answer in answers]
    for answer in answers:
        received = b""
        while received != b"".join(STREAM[:5]):
            received += answer.some()
    start = time.monotonic()
    running.signal(signal.SIGTERM)
    running.wait(20)
    assert time.monotonic() - start < 4 + 3
    for caller in callers:
        caller.__exit__(None, None, None)

    def records() -> list[dict[str, Any]]:
        return [record for record in broker.records() if record["trace_id"] in trace_ids]

    wait_until(lambda: len(records()) == 20)
    assert {record["status"] for record in records()} == {"interrupted"}
    counts = [record["usage"]["completion_tokens"] for record in records() if record["usage_source"] == "estimated"]
    assert set(counts) == {3}
    assert len(counts) >= 10  # all of them, but where the machine has no time
