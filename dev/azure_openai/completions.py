"""Completions, the predecessor of chat: plain prompts and plain text, as JSON and as a stream."""

from collections.abc import Iterator
from itertools import chain, zip_longest

from dev.azure_openai.answer import Answer, Prompt, compose, texts_of
from dev.azure_openai.errors import failure_event
from dev.azure_openai.model_request import ModelRequest
from dev.azure_openai.shapes import (
    DONE,
    Event,
    Json,
    Reply,
    Stream,
    Template,
    Whole,
    answer_filter,
    encode,
    identifier,
    now,
    prompt_filter_results,
)


def completions(request: ModelRequest) -> Reply:
    """Respond to one request; each of its prompts gets `n` choices. Raises ServiceError."""
    wants_usage = request.wants_usage
    prompts = [_prompt(request, prompt) for prompt in texts_of(request.required("prompt"))]
    answers = [compose(prompt, index) for prompt in prompts for index in range(int(request.body.get("n") or 1))]
    prompt_tokens, tokens = sum(prompt.tokens for prompt in prompts), sum(answer.tokens for answer in answers)
    usage = {
        "completion_tokens": tokens,
        "prompt_tokens": prompt_tokens,
        "total_tokens": tokens + prompt_tokens,
    }
    known = {"id": identifier("cmpl-"), "object": "text_completion", "created": now(), "model": request.model}
    filter_mode = request.simulation.filter
    found = {} if filter_mode == "off" else {"prompt_filter_results": prompt_filter_results(len(prompts))}
    reported: Json = {} if request.simulation.no_usage else {"usage": usage}
    if not request.streams:
        choices = [
            _choice(answer.text, index, answer.finish_reason, filter_mode) for index, answer in enumerate(answers)
        ]
        return Whole(encode(known | found | {"choices": choices} | reported) + b"\n", tokens)
    pending: Json = {"usage": None} if wants_usage else {}
    events = [_choice_events(known, pending, answer, index, filter_mode) for index, answer in enumerate(answers)]
    first = [Event(_event(known | found | {"choices": []} | pending))] if found else []
    last = [Event(_event(known | {"choices": []} | reported))] if wants_usage and reported else []
    return Stream(chain(first, filter(None, chain.from_iterable(zip_longest(*events))), last, [DONE]), failure_event)


def _prompt(request: ModelRequest, text: str) -> Prompt:
    stop = request.body.get("stop") or ()
    return Prompt(
        text=text,
        limit=request.body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        length=request.simulation.tokens,
    )


def _choice(text: str, index: int, finish_reason: str | None, filter_mode: str) -> Json:
    choice: Json = {"text": text, "index": index, "finish_reason": finish_reason, "logprobs": None}
    if filter_mode == "off":
        return choice
    severity = "high" if finish_reason == "content_filter" else "safe"
    return choice | {"content_filter_results": answer_filter(severity)}


def _choice_events(known: Json, pending: Json, answer: Answer, index: int, filter_mode: str) -> Iterator[Event]:
    choice = _choice(Template.HOLE, index, None, filter_mode)
    token = Template(known | {"choices": [choice]} | pending)
    for piece in answer.pieces:
        yield Event(token.fill(encode(piece)), generated=True)
    yield Event(_event(known | {"choices": [_choice("", index, answer.finish_reason, filter_mode)]} | pending))


def _event(chunk: Json) -> bytes:
    return b"data: " + encode(chunk) + b"\n\n"
