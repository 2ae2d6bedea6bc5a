"""Show: one call as seen by the client, the trace and the hub, and then a line for each record that arrives."""

import asyncio
import json
from typing import Final, NoReturn

from rich.console import Console, RenderableType
from rich.text import Text

from dev.up.call import StreamedCall
from dev.up.page import Page
from dev.up.proxy import Proxy
from dev.up.records import Record, Records, Unreadable
from dev.up.view import HEADING, Span, record_json, record_line, span_tree, timeline

_PROMPT: Final = "What does a trace tell?"
_PROMPT_FOR_CURL: Final = "Why trace a call?"
_SPANS_S: Final = 5.0
_RECORD_S: Final = 30.0
_POLL_S: Final = 0.02
_MAX_WIDTH: Final = 100


class Show:
    """What `dev.up` prints once the proxy is ready."""

    def __init__(self, console: Console, proxy: Proxy, page: Page) -> None:
        self._console = console
        self._proxy = proxy
        self._page = page
        self._width = min(console.width, _MAX_WIDTH) - 2

    async def run(self) -> NoReturn:
        """Make the call and show it, then follow the hub."""
        records = Records(self._proxy.settings)
        call = await self._call()
        # not earlier: starting two more processes would disturb the chunks' times
        await self._page.start()
        # not earlier: a connecting consumer stalls the loop, which would disturb the chunks' times
        async with records:
            await self._show_spans(call)
            record = await self._show_record(call, records)
            await self._show_page()
            await self._follow(record, records)

    async def _call(self) -> StreamedCall:
        call = StreamedCall()
        self._title("One streamed call", f"by AsyncAzureOpenAI, through the proxy to {self._proxy.deployment}")
        self._print(Text(_PROMPT, "italic"))
        await call.run(self._proxy, _PROMPT, lambda text: self._console.print(Text(text), end="", soft_wrap=True))
        self._console.print()
        if call.fault is not None:
            self._warn(f"The call failed: {call.fault}")
        if call.chunks:
            self._title("Its chunks", "in ms, as the SDK sees them on its first call")
            self._console.print(timeline(call.chunks, self._width))
        return call

    async def _show_spans(self, call: StreamedCall) -> None:
        spans: list[Span] = []
        try:
            async with asyncio.timeout(_SPANS_S):
                while not any(span["parent_id"] == f"0x{call.parent_id}" for span in spans):
                    await asyncio.sleep(_POLL_S)
                    spans = self._spans_of(call.trace_id)
        except TimeoutError:
            self._warn("The proxy wrote no spans for it.")
            return
        self._title("Its spans", "in ms from the request's arrival at the proxy")
        self._console.print(span_tree(spans, call))

    def _spans_of(self, trace_id: str) -> list[Span]:
        written = self._proxy.spans.read_text("utf-8") if self._proxy.spans.exists() else ""
        whole_lines = written.rpartition("\n")[0].splitlines()
        return [span for span in map(json.loads, whole_lines) if span["context"]["trace_id"] == f"0x{trace_id}"]

    async def _show_record(self, call: StreamedCall, records: Records) -> Record | None:
        self._title("Its record", "read back from the hub by a consumer")
        with self._console.status("waiting for it …"):
            try:
                async with asyncio.timeout(_RECORD_S):
                    record = await records.find(call.trace_id)
            except TimeoutError:
                self._warn(f"It did not arrive within {_RECORD_S:.0f} s.")
                return None
            except Unreadable as fault:
                self._warn(f"The hub cannot be read: {fault}")
                return None
        self._print(record_json(record, self._width))
        return record

    async def _show_page(self) -> None:
        if self._page.missing:
            self._title("Page", "none")
            self._warn(f"It needs {', '.join(self._page.missing)}: pip install -r requirements-analytics.txt")
        elif self._page.available:
            self._title("Page", "shows the calls in a browser, a few seconds after they end")
            with self._console.status("starting …"):
                address = await self._page.address()
            self._print(Text(address, "cyan"))

    async def _follow(self, first: Record | None, records: Records) -> NoReturn:
        self._title("Serving", "until Ctrl-C; try this from another terminal")
        self._print(Text(self._proxy.curl(_PROMPT_FOR_CURL)))
        self._title("Records", "one line each, as they arrive in the hub")
        self._print(Text(HEADING, "dim"))
        if first is not None:
            self._print(record_line(first))
        while True:
            try:
                self._print(record_line(await records.next()))
            except Unreadable as fault:
                self._warn(f"The hub cannot be read: {fault}")

    def _title(self, title: str, explained: str) -> None:
        line = Text.assemble("\n", ("── ", "dim"), (title, "bold"), (f"  {explained} ", "dim"))
        line.append("─" * (self._width - line.cell_len + 1), "dim")
        self._print(line)

    def _warn(self, text: str) -> None:
        self._print(Text(text, "red"))

    def _print(self, what: RenderableType) -> None:
        """Print without wrapping, so that long lines can be copied."""
        self._console.print(what, soft_wrap=True)
