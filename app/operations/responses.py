"""The Responses API: what its output items say, in a whole answer or at the end of a stream."""

from app.operations.content_filter import note_filters
from app.operations.operation import Json, Operation, StreamReader
from app.operations.responses_stream import ResponseStream
from app.operations.wire import as_list, as_object, as_text, json_of, parameters, read_usage
from otel.call import Answer, Choice, Request, ToolCall

_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Reasons for an incomplete response that chat completions have a word for."""


class Responses(Operation):
    """`POST …/responses`, JSON and server-sent events; the model is named in the body.

    The prompt is `input` as it was sent (else `prompt`, which names a stored one), and `instructions` have a field of
    their own: they are not part of the input, and the prompt is recorded unchanged.

    A response is one choice. Its content joins all `output_text` as the SDK does, its reasoning the texts and summaries
    of its reasoning items, a paragraph each. Tool calls are those that the client is to answer, of functions and custom
    tools; what the service calls by itself (web and file search, code, MCP) is left out, as are images and sound.

    Its finish reason is told in the words of chat completions, so that one question serves both: `completed` is `stop`,
    or `tool_calls` with calls to answer; `incomplete` is the reason given, `max_output_tokens` as `length`; any other
    end, such as `failed` or `cancelled`, has its own name, and one that has not ended (`queued`) no reason.
    """

    name = "chat"
    api_type = "responses"

    def read_request(self, body: Json) -> Request:
        """Model, stream, input, instructions and sampling parameters."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "input") or json_of(body, "prompt"),
            instructions=json_of(body, "instructions") if body.get("instructions") else None,
            parameters=parameters(body, as_object(body.get("text")).get("format")),
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Output, usage, filter verdicts and identity of a `response`."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        answer.service_tier = as_text(body.get("service_tier"))
        answer.usage = read_usage(body.get("usage"))
        note_filters(answer.content_filter, body.get("content_filters"))
        if "output" in body:
            choice = _read_output(body["output"])
            choice.finish_reason = _finish_reason(body, calls=bool(choice.tool_calls))
            answer.choices = [choice]

    def error_of(self, body: Json) -> object:
        """The `error` of a response, also of one within an event, or an event that is an error by its type."""
        match body.get("type"):
            case "error":
                return body.get("error") or body
            case "response.failed":
                body = as_object(body.get("response"))
        return body.get("error") or ({"code": "failed"} if body.get("status") == "failed" else None)

    def stream(self) -> StreamReader:
        """A reader of `response.*` events."""
        return ResponseStream(self.read_answer)


def _read_output(output: object) -> Choice:
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for entry in as_list(output):
        item = as_object(entry)
        match item.get("type"):
            case "message":
                for part in map(as_object, as_list(item.get("content"))):
                    texts.append(as_text(part.get("text")) or "")
                    refusals.append(as_text(part.get("refusal")) or "")
            case "reasoning":
                for part in map(as_object, (*as_list(item.get("summary")), *as_list(item.get("content")))):
                    thoughts.append(as_text(part.get("text")) or "")
            case "function_call" | "custom_tool_call":
                arguments = as_text(item.get("arguments", item.get("input"))) or ""
                calls.append(ToolCall(as_text(item.get("call_id")), as_text(item.get("name")) or "", arguments))
    return Choice(
        content="".join(texts),
        refusal="".join(refusals),
        reasoning="\n\n".join(filter(None, thoughts)),
        tool_calls=calls,
    )


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
