"""Background responses: made by one call, fetched by others. Replays exchanges (recorded/, each with its source)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from otel import attributes as a
from otel.fetched import FetchedUsage
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import ProxyThread
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import client

RECORDED = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parent.glob("recorded/*.json")}
ANSWER = "2 + 2 equals 4."
USAGE = {"prompt_tokens": 15, "completion_tokens": 9}


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("fetched")) as started:
        yield started


def replayed(stage: Stage, hub: HubReader, name: str, **changed: Any) -> dict[str, Any]:
    """The record of a recorded exchange; `changed` are members of its JSON answer."""
    exchange = RECORDED[name]
    body: bytes = exchange["body"].encode()
    if changed:
        body = json.dumps({**json.loads(body), **changed}).encode()

    async def script(request: Seen, reply: Reply) -> None:
        headers = {"content-type": exchange["headers"]["content-type"], "content-length": str(len(body))}
        await reply.head(exchange["status"], headers)
        await reply.raw(body)

    stage.play(script)
    sent = (exchange["request_body"] or "").encode()
    with client(stage.url) as caller:
        answer = caller.send(exchange["method"], "/openai" + exchange["path"], sent or None)
        assert answer.read() == body
    return hub.record(answer.trace_id)


def told(record: dict[str, Any]) -> tuple[Any, ...]:
    usage = record["usage"]
    counts = usage and {name: usage[name] for name in USAGE}
    return record["operation"], record["response_status"], record["content"], record["usage_source"], counts


def test_a_background_response_and_its_polls(stage: Stage, hub: HubReader) -> None:
    """Its usage is pending until a record tells it; all name the same response."""
    records = [replayed(stage, hub, f"poll_{name}") for name in ("1_queued", "2_in_progress", "3_completed")]
    assert [told(record) for record in records] == [
        ("chat", "queued", "", "pending", None),
        ("fetch_response", "in_progress", "", "pending", None),
        ("fetch_response", "completed", ANSWER, "reported", USAGE),
    ]
    assert len({record["response_id"] for record in records}) == 1
    assert {record["status"] for record in records} == {"completed"}


def test_a_background_stream_that_is_taken_up_again(stage: Stage, hub: HubReader) -> None:
    """A stream that broke is pending; the one that starts after what was received has the text and the usage."""
    broken = replayed(stage, hub, "stream_1_from_start")
    rest = replayed(stage, hub, "stream_2_starting_after")
    assert (broken["type"], rest["type"]) == ("stream_completion", "stream_completion")
    assert broken["response_id"] == rest["response_id"]
    assert (rest["operation"], rest["content"], rest["usage_source"]) == ("fetch_response", ANSWER, "reported")


def test_the_span_of_a_fetch_has_no_token_usage(stage: Stage, hub: HubReader) -> None:
    """It would count twice; the record has it."""
    record = replayed(stage, hub, "poll_3_completed")
    (span,) = [one for one in stage.proxy.spans.of_trace(record["trace_id"], 2) if one.kind is SpanKind.CLIENT]
    assert not [name for name in span.attributes if name.startswith("gen_ai.usage")]
    assert record["usage"]["total_tokens"] > 0


def test_a_fetched_response_that_failed_is_an_upstream_error(stage: Stage, hub: HubReader) -> None:
    """With its code, although the status is 200; a cancelled one is not."""
    failed = replayed(stage, hub, "poll_3_completed", status="failed", error={"code": "server_error", "message": "x"})
    assert (failed["status"], failed["error"]["code"], failed["http_status"]) == ("upstream_error", "server_error", 200)
    cancelled = replayed(stage, hub, "poll_2_in_progress", status="cancelled")
    assert (cancelled["status"], cancelled["response_status"]) == ("completed", "cancelled")
    assert (cancelled["usage_source"], cancelled["usage"]) == ("missing", None)


def test_a_compacted_conversation_is_a_chat(stage: Stage, hub: HubReader) -> None:
    """Its usage is its own."""
    body = {
        "id": "resp_2",
        "object": "response.compaction",
        "output": [],
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    stage.play(lambda request, reply: reply.json(json.dumps(body).encode()))
    with client(stage.url) as caller:
        answer = caller.send("POST", "/openai/v1/responses/compact", b'{"model":"m","input":"a"}')
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["operation"], record["usage"]["prompt_tokens"]) == ("chat", 9)


def fetched(response: str, background: bool = True) -> dict[str, Any]:
    usage = '{"prompt_tokens":5,"completion_tokens":1}'
    return {
        a.API_TYPE: "responses",
        a.RESPONSE_ID: response,
        a.FETCHED_USAGE: usage,
        a.FETCHED_BACKGROUND: background,
    }


def test_the_metric_counts_a_response_once() -> None:
    """With the call that first tells its usage; that of one not made in the background was its POST's."""
    usage = FetchedUsage()
    assert usage.counted(fetched("r"))[a.INPUT_TOKENS] == 5
    assert a.INPUT_TOKENS not in usage.counted(fetched("r"))
    assert a.INPUT_TOKENS not in usage.counted(fetched("s", background=False))
    usage.counted({a.API_TYPE: "responses", a.RESPONSE_ID: "t", a.INPUT_TOKENS: 5})
    assert a.INPUT_TOKENS not in usage.counted(fetched("t"))
