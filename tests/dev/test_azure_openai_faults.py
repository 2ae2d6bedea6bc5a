"""What the simulator can be told to do wrong, for one call or for the next ones."""

import json
import re
import socket

import openai
import pytest

from tests.dev.simulator import CHAT, KEY, Service, user
from tests.kit.hub import wait_until


@pytest.mark.parametrize("word", ["cut-after", "close-after"])
def test_a_stream_breaks_off(service: Service, word: str) -> None:
    """After so many events the connection is gone: all of them arrive, then the client sees an error."""
    received = map(repr, service.chat("Hi", f"{word}=5", stream=True))
    for _ in range(5):
        next(received)
    with pytest.raises(openai.APIConnectionError):
        next(received)
    assert service.seen()["requests"][-1]["outcome"] == "broken_off"


@pytest.mark.parametrize(("word", "resets"), [("cut-after", True), ("close-after", False)])
def test_a_cut_is_a_reset(service: Service, word: str, resets: bool) -> None:
    """cut-after sends RST, close-after FIN."""
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
    assert (received.count(b"data: "), reset) == (2, resets)


def test_a_json_answer_breaks_off(service: Service) -> None:
    """A JSON answer is cut in its middle."""
    with pytest.raises(openai.APIConnectionError):
        service.chat("Hi", "cut-after=0")


@pytest.mark.parametrize("words", ["silent", "stall-after=3"])
def test_a_stalled_answer_keeps_the_connection(service: Service, words: str) -> None:
    """Silence lasts until the client gives up, and the journal tells that it was the client."""
    with pytest.raises(openai.APITimeoutError):
        list(service.chat("Hi", words, stream=True, timeout=2))
    assert service.seen()["requests"][-1]["events"] == (0 if words == "silent" else 3)
    wait_until(lambda: service.seen()["requests"][-1]["outcome"] == "aborted")


def test_an_error_within_a_stream(service: Service) -> None:
    """error-event-after ends a stream of chat with an error event, and no [DONE]."""
    events = service.events("error-event-after=3")
    assert (len(events), events[-1]["error"]["type"]) == (4, "server_error")
    with pytest.raises(openai.APIError, match="had an error"):
        list(service.chat("Hi", "error-event-after=3", stream=True))


def test_an_error_within_a_response(service: Service) -> None:
    """In the Responses operation the error is an event of its own, with the next number."""
    *_, last = service.respond("Hi", "error-event-after=4", stream=True)
    assert (last.type, last.sequence_number) == ("error", 4)


def test_a_stream_without_its_end(service: Service) -> None:
    """no-done leaves out [DONE], and in the Responses operation response.completed."""
    assert service.events("no-done")[-1]["choices"][0]["finish_reason"] == "stop"
    *_, last = service.respond("Hi", "no-done", stream=True)
    assert last.type == "response.output_item.done"


def test_usage_can_be_withheld(service: Service) -> None:
    """no-usage reports none, even to a stream that asks."""
    assert service.events("no-usage", stream_options={"include_usage": True})[-2]["choices"]
    assert service.chat("Hi", "no-usage").usage is None
    assert service.respond("Hi", "no-usage").usage is None


def test_an_answer_of_a_given_length(service: Service) -> None:
    """tokens=N makes N chunks of text, each of one token, and counts them."""
    events = service.events("tokens=20000", stream_options={"include_usage": True})
    assert events[-2]["usage"]["completion_tokens"] == 20000 == len(events) - 5


def test_events_in_pieces_are_the_same_events(service: Service) -> None:
    """pieces=N changes the writes, not the bytes."""
    known = re.compile(r"'(id|created)': ('[^']*'|\d+)")
    whole, pieces = (known.sub("", str(service.events(words))) for words in ("", "pieces=7"))
    assert whole == pieces


def test_headers_can_be_simulated(service: Service) -> None:
    """Region and spill-over are as told; an empty region leaves its header out."""
    body = {"model": "prod", "messages": user("Hi")}
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=Mars;spilled-over")
    assert (headers["x-ms-region"], headers["x-ms-is-spilled-over"]) == ("Mars", "true")
    _, headers, _ = service.request("POST", CHAT, body, x_simulate="region=")
    assert "x-ms-region" not in headers


@pytest.mark.parametrize("word", ["nonsense", "cut-after", "tokens=many", "status=200", "pieces=0"])
def test_an_unknown_word_is_an_error(service: Service, word: str) -> None:
    """A simulation that cannot be read is never passed over."""
    status, _, body = service.request("POST", CHAT, {}, x_simulate=f"no-done; {word}")
    assert (status, body.decode().endswith(word)) == (400, True)


def test_faults_apply_to_the_next_calls(service: Service) -> None:
    """A fault set aside strikes as often as told, whatever the headers say, and then no more."""
    body = {"model": "prod", "messages": user("Hi")}
    service.request("POST", "/_simulator/faults", {"simulate": "503", "times": 2})
    statuses = [service.request("POST", CHAT, body, x_simulate="429")[0] for _ in range(3)]
    assert statuses == [503, 503, 429]
    service.request("POST", "/_simulator/faults", {"simulate": "503"})
    service.request("DELETE", "/_simulator/faults")
    assert service.request("POST", CHAT, body)[0] == 200
