"""Recorded sessions of Azure's, replayed through the proxy: every frame passes, and each response is a record."""

from typing import Any

from tests.app.sessions.service import RECORDED, Service, play, replay, session
from tests.kit.hub import HubReader


def replayed(service: Service, proxy: Any, hub: HubReader, name: str, count: int) -> list[dict[str, Any]]:
    """The records of a recorded session, in order of their start."""
    frames = RECORDED[name]
    replay(service, frames)
    with session(proxy(service.url).url) as client:
        assert client.response is not None
        trace_id = client.response.headers["x-trace-id"]
        came = play(client, frames)
    assert came == [frame["event"] for frame in frames if frame["from"] == "service"]
    assert service.received == [frame["event"] for frame in frames if frame["from"] == "client"]
    return sorted(hub.records(trace_id, count), key=lambda record: record["started_at"])


def only(record: dict[str, Any], *names: str) -> list[Any]:
    return [record.get(name) for name in names]


def test_a_tool_round(service: Service, proxy: Any, hub: HubReader) -> None:
    """Two responses: the call of a tool, and the answer with its result; each with what the client added before it."""
    asked, answered = replayed(service, proxy, hub, "tool_call_round", 2)
    arguments = '{  \n  "city": "London" \n} \n'
    assert asked["tool_calls"] == [{"id": "call_I5nx0fK2YAldYQZs", "name": "get_weather", "arguments": arguments}]
    assert only(asked, "content", "finish_reasons", "response_id") == ["", ["tool_calls"], "resp_E4GEXS0gMoB7vHZTsFGmQ"]
    assert only(answered, "content", "finish_reasons") == ["It is foggy and 12 degrees in London.", ["stop"]]
    assert asked["prompt"][0]["content"] == [{"type": "input_text", "text": "What is the weather in London?"}]
    assert [item["type"] for item in answered["prompt"]] == ["function_call_output"]
    for record in (asked, answered):
        assert only(record, "type", "operation", "status", "http_status") == [
            "stream_completion",
            "realtime",
            "completed",
            101,
        ]
        assert record["instructions"].startswith("Use the get_weather tool")
        assert record["request"]["tools"][0]["name"] == "get_weather"
        assert record["session_id_upstream"] == "sess_E4GEXHPLMBozhYYNBbObf"
        assert record["time_to_first_chunk_ms"] + record["streaming_duration_ms"] == record["latency_ms"]
    assert asked["connection_id"] == answered["connection_id"]
    assert (asked["usage"]["total_tokens"], answered["usage"]["total_tokens"]) == (85, 109)
    assert answered["usage"]["input_token_details"]["cached_tokens"] == 64


def test_sound_out(service: Service, proxy: Any, hub: HubReader) -> None:
    """The content is the transcript, never sound; the first sound is timed."""
    (record,) = replayed(service, proxy, hub, "text_in_audio_out_turn", 1)
    assert record["content"] == "Hello there! Great to meet you!"
    assert record["usage"]["output_token_details"] == {"text_tokens": 16, "audio_tokens": 82}
    assert 0 <= record["time_to_first_audio_ms"] <= record["latency_ms"]
    assert only(record, "deployment", "model", "chunks") == ["gpt-realtime", "gpt-realtime", 32]


def test_speech_in(service: Service, proxy: Any, hub: HubReader) -> None:
    """The service asks for the response; the prompt is seconds of speech, and its transcription a call of its own."""
    spoken, transcribed = replayed(service, proxy, hub, "audio_in_server_vad_transcription_requires_deployment", 2)
    assert spoken["prompt"][0]["content"] == [{"type": "input_audio", "seconds": 2.668}]
    assert spoken["usage"]["input_token_details"]["audio_tokens"] == 26
    assert spoken["content"].startswith("Hi Marcelo")
    assert only(transcribed, "operation", "status", "usage", "deployment") == [
        "transcription",
        "upstream_error",
        None,
        "gpt-realtime-whisper",
    ]
    assert transcribed["error"]["code"] == "DeploymentNotFound"
