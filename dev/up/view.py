"""What `dev.up` shows of a call: its chunks over time, its spans and its record, as rich renderables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from dev.up.call import Chunk, StreamedCall
from dev.up.records import Record

type Span = Mapping[str, Any]
"""A finished span in the format of the SDK's `to_json`."""

LINE: Final = "{:8}  {:32}  {:18.18}  {:9} {:>9}  {}"
HEADING: Final = LINE.format("time", "trace_id", "model", "status", "tokens", "ttfc/ttft/total")

_CELL: Final = 19
_MAX_CHUNKS: Final = 60
_SHOWN: Final = (
    "http.method",
    "http.target",
    "http.status_code",
    "server.address",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "proxy.region",
    "proxy.status",
    "error.type",
)


def timeline(chunks: Sequence[Chunk], width: int) -> RenderableType:
    """A line with a mark per chunk, labels for the main moments below it, and a table of the chunks."""
    last = chunks[-1]
    token = next((chunk for chunk in chunks if chunk.generated), None)
    marks = Text(" " * width)
    for chunk in chunks:
        at = _column(chunk, last, width)
        mark = Text("┃", "cyan" if chunk.generated else "yellow")
        marks = marks[:at] + mark + marks[at + 1 :]
    moments = [_moment(chunks[0], last, width, "first chunk", "yellow")]
    if token is not None:
        moments.append(_moment(token, last, width, "first token", "cyan"))
    moments.append(_moment(last, last, width, f"last of {len(chunks)} chunks", "yellow"))
    return Group(marks, *moments, "", _table(chunks, width // _CELL))


def _column(chunk: Chunk, last: Chunk, width: int) -> int:
    return round(chunk.at_ms / last.at_ms * (width - 1))


def _moment(chunk: Chunk, last: Chunk, width: int, name: str, style: str) -> Text:
    at, label = _column(chunk, last, width), f"{chunk.at_ms:.0f} ms {name}"
    if at + 2 + len(label) <= width:
        return Text(f"{' ' * at}╰ {label}", style)
    return Text(f"{label:>{max(at - 1, 0)}} ╯", style)


def _table(chunks: Sequence[Chunk], columns: int) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    cells = [_cell(chunk) for chunk in chunks[:_MAX_CHUNKS]]
    for start in range(0, len(cells), columns):
        table.add_row(*cells[start : start + columns])
    if len(chunks) > _MAX_CHUNKS:
        return Group(table, Text(f"… and {len(chunks) - _MAX_CHUNKS} more", "dim"))
    return table


def _cell(chunk: Chunk) -> Text:
    text = " ".join(chunk.text.split()) or "⏎" if chunk.generated else f"({chunk.text})"
    cell = Text.assemble((f"{chunk.at_ms:5.0f} ", "dim"), (text, "" if chunk.generated else "yellow"))
    cell.truncate(_CELL - 1, overflow="ellipsis", pad=True)
    return cell


def span_tree(spans: Sequence[Span], call: StreamedCall) -> Tree:
    """The spans of the call's trace, at least one, below the client's; times are relative to the earliest start."""
    tree = Tree(
        Text.assemble(("trace ", "bold"), call.trace_id, (f"  started by the client as span {call.parent_id}", "dim"))
    )
    start = min(datetime.fromisoformat(span["start_time"]) for span in spans)
    _add_spans(tree, spans, call.parent_id, start)
    return tree


def _add_spans(tree: Tree, spans: Sequence[Span], parent: str, start: datetime) -> None:
    for span in spans:
        if (span["parent_id"] or "").removeprefix("0x") != parent:
            continue
        kind = span["kind"].removeprefix("SpanKind.")
        interval = f"  {_ms(span['start_time'], start):.0f} to {_ms(span['end_time'], start):.0f} ms"
        node = tree.add(Text.assemble((kind, "bold magenta"), " ", (span["name"], "bold"), (interval, "green")))
        for name, value in _attributes(span):
            node.add(Text.assemble((f"{name:32}", "dim"), _plain(value)))
        for event in span["events"]:
            at = _ms(event["timestamp"], start)
            facts = ", ".join(f"{name} {_plain(value)}" for name, value in event["attributes"].items())
            node.add(Text.assemble((f"{event['name']:24}", "cyan"), (f"{at:5.0f} ms  ", "green"), (facts, "dim")))
        _add_spans(node, spans, span["context"]["span_id"].removeprefix("0x"), start)


def _attributes(span: Span) -> Iterator[tuple[str, object]]:
    attributes = span["attributes"]
    return ((name, attributes[name]) for name in _SHOWN if name in attributes)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _ms(timestamp: str, start: datetime) -> float:
    return (datetime.fromisoformat(timestamp) - start).total_seconds() * 1000


def record_json(record: Record, width: int) -> Text:
    """The whole record; objects and lists are on one line where they fit."""
    text = Text(_fit(record, width))
    JSONHighlighter().highlight(text)
    return text


def _fit(value: object, width: int, indent: int = 0, used: int = 0) -> str:
    """JSON of a value that starts after `used` characters of its line."""
    flat = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or (indent and used + len(flat) < width):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [(f"{pad}{json.dumps(name)}: ", item) for name, item in value.items()]
    else:
        items = [(pad, item) for item in value]
    lines = ",\n".join(name + _fit(item, width, indent + 2, len(name)) for name, item in items)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{lines}\n{' ' * indent}{closing}"


def record_line(record: Record) -> Text:
    """The record on one line, to go under HEADING; times are in milliseconds."""
    usage = record.get("usage") or {}
    tokens = "→".join(str(usage.get(name, "-")) for name in ("prompt_tokens", "completion_tokens")) if usage else "-"
    names = ("time_to_first_chunk_ms", "time_to_first_token_ms", "latency_ms")
    times = "/".join("-" if record.get(name) is None else str(record[name]) for name in names)
    ended = datetime.fromisoformat(record["timestamp"]).replace(tzinfo=UTC).astimezone()
    status = record["status"]
    line = Text(LINE.format(f"{ended:%H:%M:%S}", record["trace_id"], str(record["model"]), status, tokens, times))
    line.highlight_words([status], "green" if status == "completed" else "red")
    line.highlight_words([record["trace_id"]], "cyan")
    return line
