"""The output items of the Responses API: one choice out of all of them."""

from typing import Final

from app.operations.json_text import dump
from app.operations.operation import Json
from app.operations.wire import as_list, as_object, as_text
from otel.call import Answer, Choice, HostedCall, ToolCall

# Calls without a name or text arguments: the member that says what the client is to do
_ACTIONS: Final = {
    "apply_patch_call": ("operation",),
    "computer_call": ("actions", "action"),  # several actions, or in earlier versions one
    "local_shell_call": ("action",),
    "shell_call": ("action",),
    "tool_search_call": ("arguments",),
}

_SEARCHES: Final = {"web_search_call": "web_search_calls", "file_search_call": "file_search_calls"}


def read_output(output: object) -> Choice:
    """The texts, refusals, reasoning and tool calls of `output`."""
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
            case str(kind) if (call := _client_call(kind, item)) is not None:
                calls.append(call)
    return Choice(
        content="".join(texts),
        refusal="".join(refusals),
        reasoning="\n\n".join(filter(None, thoughts)),
        tool_calls=calls,
    )


def note_hosted_calls(output: object, answer: Answer) -> None:
    """Add the calls of tools that the service ran by itself, and the units in which they are billed."""
    containers: set[str] = set()
    for entry in as_list(output):
        item = as_object(entry)
        kind = as_text(item.get("type")) or ""
        if not kind.endswith("_call") or _client_call(kind, item) is not None:
            continue
        status = as_text(item.get("status"))
        answer.hosted_calls.append(HostedCall(kind, as_text(item.get("id")), status))
        container = as_text(item.get("container_id")) or as_text(as_object(item.get("environment")).get("container_id"))
        if container:
            containers.add(container)
        unit = _SEARCHES.get(kind)
        # opening a page and finding in it are steps of a search, and not billed
        if unit and status in (None, "completed") and as_object(item.get("action")).get("type") in (None, "search"):
            answer.units[unit] = answer.units.get(unit, 0) + 1
    if containers:
        answer.units["code_sessions"] = len(containers)


def is_call(kind: object) -> bool:
    """Whether an item of this type begins a call of a tool, whoever executes it."""
    return isinstance(kind, str) and (kind.endswith("_call") or kind == "mcp_approval_request")


def _client_call(kind: str, item: Json) -> ToolCall | None:
    """The call that the client executes or approves; None for an item that asks nothing of it."""
    match kind:
        case "function_call" | "custom_tool_call":
            arguments = as_text(item.get("arguments")) or as_text(item.get("input")) or ""
            return ToolCall(as_text(item.get("call_id")), as_text(item.get("name")) or "", arguments)
        case "mcp_approval_request":
            arguments = as_text(item.get("arguments")) or ""
            return ToolCall(as_text(item.get("id")), as_text(item.get("name")) or "", arguments)
        case "shell_call" if as_object(item.get("environment")).get("type") == "container_reference":
            return None  # executed in a container of the service
        case "tool_search_call" if item.get("execution") != "client":
            return None
    if kind not in _ACTIONS:
        return None
    action = next((name for name in _ACTIONS[kind] if item.get(name) is not None), None)
    arguments = dump(item[action]) if action else ""
    return ToolCall(as_text(item.get("call_id")), kind.removesuffix("_call"), arguments)
