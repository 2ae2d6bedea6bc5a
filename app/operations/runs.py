"""Runs of Assistants: made by one call, whole or as a stream, and fetched by others until they have ended."""

from collections.abc import Set
from typing import Final

from app.operations.operation import Json, Operation, StreamReader
from app.operations.room import Room
from app.operations.wire import as_list, as_object, as_text, json_of, parameters, read_usage, whole_characters
from otel.call import FETCH, Answer, Choice, HostedCall, Request, ToolCall

_UNENDED: Final = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
_REASONS: Final = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "max_completion_tokens": "length",
    "max_prompt_tokens": "length",
}
"""States, and reasons for an incomplete run, in the terms of chat completions."""
_PROMPTS: Final = ("additional_messages", "thread", "tool_outputs")


class Run(Operation):
    """`POST …/threads/runs`, `…/threads/{id}/runs` and `…/runs/{id}/submit_tool_outputs`.

    The prompt is what the call adds to the thread; the rest of it is not known here, so usage is never estimated. It
    comes with the stream's last run, or with a later fetch.
    """

    name = "invoke_agent"
    api_type = "assistants"
    answer_members = frozenset({"object", "status"})
    names_object = True
    makes_object = True

    def recorded_apart(self, body: Json) -> Set[str]:
        """The member that the prompt comes from, and the instructions."""
        return {
            *[name for name in _PROMPTS if name in body][:1],
            *(["instructions"] if body.get("instructions") else []),
        }

    def read_request(self, body: Json) -> Request:
        """Model, stream, added messages, instructions and sampling parameters."""
        added = next((name for name in _PROMPTS if name in body), "")
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, added),
            instructions=json_of(body, "instructions") if body.get("instructions") else None,
            parameters=parameters(body, body.get("response_format")),
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """State, usage and the tool calls to answer of a `thread.run`."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        answer.status = as_text(body.get("status"))
        answer.usage = read_usage(body.get("usage"))
        answer.background = True
        answer.pending = answer.usage is None and answer.status in _UNENDED
        calls = as_object(as_object(body.get("required_action")).get("submit_tool_outputs")).get("tool_calls")
        reason = as_text(as_object(body.get("incomplete_details")).get("reason")) or answer.status
        ended = answer.status not in _UNENDED - {"requires_action"}
        choice = Choice(
            tool_calls=[_tool_call(as_object(call)) for call in as_list(calls)],
            finish_reason=_REASONS.get(reason, reason) if reason and ended else None,
        )
        answer.choices = [choice]

    def error_of(self, body: Json) -> object:
        """The `last_error` of a failed run, or an event that is an error."""
        if body.get("object") == "thread.run":
            return (body.get("last_error") or {"code": "failed"}) if body.get("status") == "failed" else None
        return body.get("error") or (body if "object" not in body and body.get("message") else None)

    def stream(self) -> StreamReader:
        """A reader of `thread.*` events."""
        return RunStream(self)


class FetchRun(Run):
    """`GET …/threads/{id}/runs/{id}`: where a run that was not streamed tells its usage."""

    name = FETCH
    json_body = False
    makes_object = False


class RunStream(StreamReader):
    """The events of a run: its states, its steps, and the text of messages as it is written."""

    def __init__(self, run: Run) -> None:
        self._reader = run
        self.room = Room()
        self._run: Json = {}
        self._texts: list[str] = []
        self._hosted: list[HostedCall] = []

    def event(self, event: Json) -> bool:
        """Read one event; its name is not needed, since each object names its kind."""
        match event.get("object"):
            case "thread.message.delta":
                parts = as_list(as_object(event.get("delta")).get("content"))
                texts = [as_text(as_object(as_object(part).get("text")).get("value")) or "" for part in parts]
                self._texts += map(self.room.keep, texts)
                return any(texts)
            case "thread.run.step.delta":
                details = as_object(as_object(event.get("delta")).get("step_details"))
                return bool(as_list(details.get("tool_calls")))
            case "thread.run.step" if event.get("status") == "completed":
                for entry in as_list(as_object(event.get("step_details")).get("tool_calls")):
                    call = as_object(entry)
                    if (kind := as_text(call.get("type"))) not in (None, "function"):
                        self._hosted.append(HostedCall(f"{kind}_call", as_text(call.get("id")), "completed"))
            case "thread.run":
                self._run = event
        return False

    def finish(self, answer: Answer) -> bool:
        """Write the facts of the run; only [DONE] ends its stream."""
        self._reader.read_answer(self._run, answer)
        answer.choices[0].content = whole_characters("".join(self._texts))
        answer.hosted_calls = self._hosted
        searches = sum(call.type == "file_search_call" for call in self._hosted)
        if searches:
            answer.units["file_search_calls"] = searches
        return False


def _tool_call(call: Json) -> ToolCall:
    function = as_object(call.get("function"))
    return ToolCall(
        as_text(call.get("id")), as_text(function.get("name")) or "", as_text(function.get("arguments")) or ""
    )
