"""Images: prompts, usage and verdicts, never an image or a link to one."""

import json
from typing import Any

import pytest

from otel import attributes as a
from otel.call import Choice, Usage
from tests.app.operations.conftest import Through
from tests.app.operations.shapes import BLOCKED, SAFE, SSE, named, operation, streamed, whole

IMAGE = "iVBORw0KGgoAAAANSUhEUg" * 4000
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 9},
    "output_tokens": 272,
    "total_tokens": 281,
}
COUNTS = {"prompt_tokens": 9, "completion_tokens": 272, "total_tokens": 281}
DETAILS = {"input_tokens_details": {"image_tokens": 0, "text_tokens": 9}}
PATH = "/openai/deployments/pictures/images/generations?api-version=2025-04-01-preview"
EDITS = "/openai/deployments/pictures/images/edits?api-version=2025-04-01-preview"


def partial(kind: str = "image_generation") -> dict[str, Any]:
    return {"type": f"{kind}.partial_image", "partial_image_index": 0, "b64_json": IMAGE}


def completed(kind: str = "image_generation") -> dict[str, Any]:
    return {"type": f"{kind}.completed", "b64_json": IMAGE, "size": "1024x1024", "usage": USAGE}


def test_request_facts_are_read() -> None:
    """Prompt, model, count and stream."""
    body = {"prompt": "A cat ✨", "model": "gpt-image-1", "n": 2, "stream": True}
    request = operation("images/generations").read_request(body)
    assert (request.prompt, request.model, request.stream) == ('"A cat ✨"', "gpt-image-1", True)
    assert request.parameters == {a.OUTPUT_TYPE: "image", a.REQUEST_CHOICE_COUNT: 2}


def test_revised_prompts_are_content() -> None:
    """Revised prompts are the only generated text; the verdicts of all images count."""
    data = [
        {"revised_prompt": "A grey cat", "b64_json": IMAGE, "content_filter_results": SAFE},
        {"revised_prompt": "A red cat", "url": "https://example.com/x?sig=y", "prompt_filter_results": BLOCKED},
    ]
    answer = whole("images/generations", {"created": 1, "data": data})
    assert answer.choices == [Choice(0, "A grey cat"), Choice(1, "A red cat")]
    assert answer.content_filter == {"prompt": BLOCKED, "completion": SAFE}


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
def test_a_completed_image_ends_the_stream(kind: str) -> None:
    """The last event is a completed image, with the usage; no image is a token."""
    answer, ended = streamed("images/generations", partial(kind), completed(kind))
    assert answer.usage == Usage(9, 272, 281, DETAILS)
    assert ended is True
    assert streamed("images/generations", partial(kind))[1] is False
    assert operation("images/generations").stream().event(completed(kind)) is False


def test_generated_images_are_not_recorded(through: Through) -> None:
    """Images and links, which open the image for anyone, pass unchanged; the record has prompts and usage."""
    link = {"revised_prompt": "A grey cat", "url": "https://example.com/x?sig=secret"}
    body = json.dumps({"created": 1, "data": [link, {"b64_json": IMAGE}], "usage": USAGE}).encode()
    record = through(PATH, {"prompt": "A cat"}, body)
    assert (record["operation"], record["status"], record["prompt"]) == ("image_generation", "completed", "A cat")
    assert record["usage"] == {**COUNTS, **DETAILS}
    assert (record["content"], record["model"]) == ("A grey cat", "pictures")
    assert "sig=secret" not in json.dumps(record)
    assert len(json.dumps(record)) < 2000


def test_streamed_images_are_not_recorded(through: Through) -> None:
    """Partial and completed images pass unchanged; the record has the number of events and the usage."""
    record = through(PATH, {"prompt": "A cat", "stream": True}, [named(partial()), named(completed())], SSE)
    assert (record["type"], record["status"], record["chunks"]) == ("stream_completion", "completed", 2)
    assert record["usage"] == {**COUNTS, **DETAILS}
    assert "time_to_first_token_ms" not in record
    assert len(json.dumps(record)) < 2000


@pytest.mark.parametrize("stream", [False, True])
def test_a_form_with_images_passes_unread(through: Through, stream: bool) -> None:
    """The form of an edit passes unchanged; the response has the usage and shows whether it is a stream."""
    form = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n\x89PNG\x00\r\n--b--\r\n'
    body = json.dumps({"created": 1, "data": [{"b64_json": IMAGE}], "usage": USAGE}).encode()
    events = [named(partial("image_edit")), named(completed("image_edit"))]
    sent_type = "multipart/form-data; boundary=b"
    record = through(
        EDITS, form, events if stream else body, SSE if stream else "application/json", sent_type=sent_type
    )
    assert (record["operation"], record["status"], record["prompt"]) == ("image_edit", "completed", None)
    assert (record["stream"], record["type"]) == (stream, "stream_completion" if stream else "completion")
    assert record["usage"] == {**COUNTS, **DETAILS}
    assert (record["deployment"], record["request_bytes"]) == ("pictures", len(form))
