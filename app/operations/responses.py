"""The Responses API: its output items, from a whole answer or the last event of a stream."""

from collections.abc import Set

from app.operations.content_filter import note_filters
from app.operations.operation import Json, Operation, StreamReader
from app.operations.response_items import note_hosted_calls, read_output
from app.operations.responses_stream import ResponseStream
from app.operations.wire import as_object, as_text, json_of, parameters, read_usage
from otel.call import FETCH, Answer, Request

_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Reasons for an incomplete response, in the terms of chat completions."""


class Responses(Operation):
    """`POST …/responses`, JSON and server-sent events; the body names the model.

    The prompt is `input` unchanged, or else `prompt`, which names a stored one. `instructions` are not part of the
    input and have a field of their own.

    A response is one choice. Its content joins all `output_text`, as the SDK does; its reasoning joins the texts and
    summaries of the reasoning items, one paragraph each. Tool calls are those that the client executes or approves:
    functions, custom tools, patches, shells, computers, MCP's requests for approval. Tools that the service runs (web
    and file search, code, MCP) are left out, as are images and audio.

    A background response that has not ended is billed later: its usage is pending.

    The finish reason uses the terms of chat completions, so that one query covers both: `completed` is `stop`, or
    `tool_calls` if there are any; `incomplete` is its reason, with `max_output_tokens` as `length`; any other end, such
    as `failed` or `cancelled`, keeps its name; one that has not ended (`queued`) has none.
    """

    name = "chat"
    api_type = "responses"
    answer_members = frozenset({"output", "object", "status"})
    makes_object = True

    def recorded_apart(self, body: Json) -> Set[str]:
        """The input, or else the stored prompt, and the instructions."""
        return {"input" if "input" in body else "prompt", *(["instructions"] if body.get("instructions") else [])}

    def read_request(self, body: Json) -> Request:
        """Model, stream, input, instructions and sampling parameters."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "input") or json_of(body, "prompt"),
            instructions=json_of(body, "instructions") if body.get("instructions") else None,
            previous_response_id=as_text(body.get("previous_response_id")),
            conversation_id=as_text(body.get("conversation")) or as_text(as_object(body.get("conversation")).get("id")),
            parameters=parameters(body, as_object(body.get("text")).get("format")),
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Output, usage, filter verdicts and identity of a `response`."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        answer.service_tier = as_text(body.get("service_tier"))
        answer.usage = read_usage(body.get("usage"))
        answer.status = as_text(body.get("status"))
        answer.background = body.get("background") is True
        answer.pending = answer.background and body.get("status") in ("queued", "in_progress")
        note_filters(answer.content_filter, body.get("content_filters"))
        if "output" in body:
            choice = read_output(body["output"])
            choice.finish_reason = _finish_reason(body, calls=bool(choice.tool_calls))
            answer.choices = [choice]
            note_hosted_calls(body["output"], answer)

    def error_of(self, body: Json) -> object:
        """The `error` of a response, alone or within an event, or an event of type `error`."""
        match body.get("type"):
            case "error":
                return body.get("error") or body
            case "response.failed":
                body = as_object(body.get("response"))
        return body.get("error") or ({"code": "failed"} if body.get("status") == "failed" else None)

    def stream(self) -> StreamReader:
        """A reader of `response.*` events."""
        return ResponseStream(self.read_answer)


class FetchResponse(Responses):
    """`GET …/responses/{id}`: a stored response, whole or as a stream, from `starting_after` on.

    What it used was billed to the call that made it. A background response tells it only here.
    """

    name = FETCH
    json_body = False
    names_object = True
    makes_object = False


def _finish_reason(response: Json, calls: bool) -> str | None:
    match response.get("status"):
        case "completed":
            return "tool_calls" if calls else "stop"
        case "incomplete":
            reason = as_text(as_object(response.get("incomplete_details")).get("reason"))
            return _REASONS.get(reason, reason) if reason else "incomplete"
        case "queued" | "in_progress":
            return None
    return as_text(response.get("status"))
