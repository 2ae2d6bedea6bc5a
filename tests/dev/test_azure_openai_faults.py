"""The faults that the simulator can inject, into one call or the next ones."""

import json
import re
import socket

import openai
import pytest

from tests.dev.simulator import CHAT, KEY, Service, user
from tests.kit.hub import wait_until


@pytest.mark.parametrize(("word", "resets"), [("cut-after", True), ("close-after", False)])
def test_a_stream_is_cut_after_n_events(service: Service, word: str, resets: bool) -> None:
    """All N events arrive, then the connection ends: cut-after with RST, close-after with FIN and no last chunk."""
    body = json.dumps({"model": "prod", "messages": user("Hi"), "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {KEY}\r\nx-simulate: {word}=2\r\n"
    host, _, port = service.url.removeprefix("http://").partition(":")
    received, reset = b"", False
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            reset = True
    assert (received.count(b"data: "), reset, received.endswith(b"0\r\n\r\n")) == (2, resets, False)
    assert service.seen()["requests"][-1]["outcome"] == "broken_off"


def test_a_json_response_is_cut_halfway(service: Service) -> None:
    """cut-after cuts a JSON response off halfway, whatever its number."""
    with pytest.raises(openai.APIConnectionError):
        service.chat("Hi", "cut-after=0")


@pytest.mark.parametrize("words", ["silent", "stall-after=3"])
def test_a_stalled_response_keeps_the_connection_open(service: Service, words: str) -> None:
    """The stall lasts until the client times out; the journal then shows that the client aborted."""
    with pytest.raises(openai.APITimeoutError):
        list(service.chat("Hi", words, stream=True, timeout=2))
    assert service.seen()["requests"][-1]["events"] == (0 if words == "silent" else 3)
    wait_until(lambda: service.seen()["requests"][-1]["outcome"] == "aborted")


def test_an_error_event_ends_a_chat_stream(service: Service) -> None:
    """error-event-after ends a chat stream with an error event and no [DONE]."""
    events = service.events("error-event-after=3")
    assert (len(events), events[-1]["error"]["type"]) == (4, "server_error")
    with pytest.raises(openai.APIError, match="had an error"):
        list(service.chat("Hi", "error-event-after=3", stream=True))


def test_an_error_event_ends_a_response_stream(service: Service) -> None:
    """In the Responses operation the error event has a type of its own and the next sequence number."""
    *_, last = service.respond("Hi", "error-event-after=4", stream=True)
    assert (last.type, last.sequence_number) == ("error", 4)


def test_the_last_event_can_be_omitted(service: Service) -> None:
    """no-done omits [DONE], and in the Responses operation response.completed."""
    assert service.events("no-done")[-1]["choices"][0]["finish_reason"] == "stop"
    *_, last = service.respond("Hi", "no-done", stream=True)
    assert last.type == "response.output_item.done"


def test_usage_can_be_withheld(service: Service) -> None:
    """no-usage omits usage, even from a stream that requests it."""
    assert service.events("no-usage", stream_options={"include_usage": True})[-2]["choices"]
    assert service.chat("Hi", "no-usage").usage is None
    assert service.respond("Hi", "no-usage").usage is None


def test_the_number_of_tokens_can_be_set(service: Service) -> None:
    """tokens=N sends N chunks of one token each, and usage counts them."""
    events = service.events("tokens=20000", stream_options={"include_usage": True})
    assert events[-2]["usage"]["completion_tokens"] == 20000 == len(events) - 5


def test_writes_in_pieces_send_the_same_events(service: Service) -> None:
    """pieces=N changes the writes, not the bytes."""
    known = re.compile(r"'(id|created)': ('[^']*'|\d+)")
    whole, pieces = (known.sub("", str(service.events(words))) for words in ("", "pieces=7"))
    assert whole == pieces


def test_headers_can_be_simulated(service: Service) -> None:
    """Region and spillover can be set; an empty region omits its header."""
    body = {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=Mars;spilled-over")
    assert (headers["x-ms-region"], headers["x-ms-is-spilled-over"]) == ("Mars", "true")
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=")
    assert "x-ms-region" not in headers


@pytest.mark.parametrize("word", ["nonsense", "cut-after", "tokens=many", "status=200", "pieces=0"])
def test_an_unknown_word_is_an_error(service: Service, word: str) -> None:
    """An invalid simulation is a 400 and never ignored."""
    status, _, body = service.request("POST", CHAT, {}, x_simulate=f"no-done; {word}")
    assert (status, body.decode().endswith(word)) == (400, True)


def test_faults_apply_to_the_next_calls(service: Service) -> None:
    """A queued fault applies the given number of times, whatever the headers say, and then no more."""
    body = {"model": "prod", "messages": user("Hi")}
    service.request("POST", "/_simulator/faults", {"simulate": "503", "times": 2})
    statuses = [service.request("POST", CHAT, body, x_simulate="429")[0] for _ in range(3)]
    assert statuses == [503, 503, 429]
    service.request("POST", "/_simulator/faults", {"simulate": "503"})
    service.request("DELETE", "/_simulator/faults")
    assert service.request("POST", CHAT, body)[0] == 200
