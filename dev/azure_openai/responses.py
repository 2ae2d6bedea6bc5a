"""The Responses operation: the JSON response, or the same response as events."""

from dev.azure_openai.answer import (
    Answer,
    Prompt,
    Tool,
    compose,
    reasoning_tokens,
    text_of,
)
from dev.azure_openai.model_request import ModelRequest
from dev.azure_openai.responses_stream import response_events, response_failure
from dev.azure_openai.shapes import (
    Json,
    Reply,
    Stream,
    Whole,
    answer_filter,
    encode,
    identifier,
    now,
    prompt_filter,
)

_SUMMARY = "Reading the question, then picking the answer that fits."


def responses(request: ModelRequest) -> Reply:
    """Respond to one request. Raises ServiceError."""
    prompt = _prompt(request)
    answer = compose(prompt)
    initial = _initial(request)
    final = initial | _final_fields(request, prompt, answer)
    if request.streams:
        return Stream(response_events(initial, final, answer), response_failure)
    return Whole(encode(final), answer.tokens)


def _prompt(request: ModelRequest) -> Prompt:
    body, given = request.body, request.required("input")
    schema = None
    match (body.get("text") or {}).get("format"):
        case {"type": "json_schema", "schema": schema}:
            pass
        case {"type": "json_object"}:
            schema = {"properties": {"answer": {"type": "string"}}}
    effort = (body.get("reasoning") or {}).get("effort")
    return Prompt(
        text="\n".join(filter(None, (body.get("instructions"), text_of(given)))),
        tools=_tools(body, given),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=schema,
        limit=body.get("max_output_tokens"),
        reasoning=reasoning_tokens(effort) if request.reasons else 0,
        length=request.simulation.tokens,
    )


def _tools(body: Json, given: str | list[Json]) -> tuple[Tool, ...]:
    """Return the functions to call: none after a function's output, so that an agent's loop ends."""
    choice = body.get("tool_choice")
    if choice == "none" or (isinstance(given, list) and given[-1].get("type") == "function_call_output"):
        return ()
    named = choice.get("name") if isinstance(choice, dict) else None
    return tuple(
        Tool(tool["name"], tool.get("parameters") or {})
        for tool in body.get("tools") or ()
        if tool["type"] == "function" and named in (None, tool["name"])
    )


def _initial(request: ModelRequest) -> Json:
    """Return the response before anything is generated."""
    body = request.body
    return {
        "background": False,
        "completed_at": None,
        "content_filters": None,
        "created_at": now(),
        "error": None,
        "frequency_penalty": 0.0,
        "id": identifier("resp_", 50),
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": body.get("metadata") or {},
        "model": request.model,
        "moderation": None,
        "object": "response",
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "presence_penalty": 0.0,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_retention": "in_memory",
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "safety_identifier": None,
        "service_tier": "default",
        "status": "in_progress",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | (body.get("text") or {}),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        "user": body.get("user"),
    }


def _final_fields(request: ModelRequest, prompt: Prompt, answer: Answer) -> Json:
    """Return the fields of a response that the end of generation changes."""
    cut_short = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish_reason)
    changes: Json = {
        "completed_at": None if cut_short else now(),
        "incomplete_details": {"reason": cut_short} if cut_short else None,
        "output": _output(request, answer, "incomplete" if cut_short else "completed"),
        "status": "incomplete" if cut_short else "completed",
    }
    if request.simulation.filter != "off":
        severity = "high" if answer.filtered else "safe"
        changes["content_filters"] = [
            _findings("prompt", prompt_filter(), len(prompt.text), blocked=False),
            _findings("completion", answer_filter(severity), len(answer.text), blocked=answer.filtered),
        ]
    if not request.simulation.no_usage:
        changes["usage"] = {
            "input_tokens": prompt.tokens,
            "input_tokens_details": {"cached_tokens": prompt.cached_tokens},
            "output_tokens": answer.tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": prompt.tokens + answer.tokens,
        }
    return changes


def _findings(source: str, results: Json, characters: int, blocked: bool) -> Json:
    return {
        "blocked": blocked,
        "content_filter_offsets": {"check_offset": 0, "end_offset": characters, "start_offset": 0},
        "content_filter_raw": [],
        "content_filter_results": results,
        "source_type": source,
    }


def _output(request: ModelRequest, answer: Answer, status: str) -> list[Json]:
    items: list[Json] = []
    if answer.reasoning_tokens:
        asked = (request.body.get("reasoning") or {}).get("summary")
        summary = [{"type": "summary_text", "text": _SUMMARY}] if asked else []
        items.append({"id": identifier("rs_", 50), "summary": summary, "type": "reasoning"})
    if answer.pieces:
        part: Json = {"annotations": [], "logprobs": [], "text": answer.text, "type": "output_text"}
        if answer.refused:
            part = {"refusal": answer.text, "type": "refusal"}
        known = {"id": identifier("msg_", 50), "role": "assistant", "type": "message"}
        items.append(known | {"content": [part], "status": status})
    for call in answer.tool_calls:
        known = {"arguments": call.arguments, "call_id": call.id, "name": call.name, "type": "function_call"}
        items.append(known | {"id": identifier("fc_", 50), "status": status})
    return items
