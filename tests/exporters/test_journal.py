"""The journal: a call whose process died leaves an interrupted record, a call that ended leaves none."""

import errno
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.owner import Owner, a_line, adopted_by_next, child, in_flight, segments
from tests.kit.hub import Broker, HubReader, checked, wait_until
from tests.kit.linux import needs_proc
from tests.kit.scripts import answering
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import AZURE_HEADERS, CHAT, PROMPT, STREAM, chat_body, client


def slots(owner: Owner) -> list[bytes]:
    return in_flight(owner.directory.root)


def test_a_file_holds_a_call_until_it_ends(owner: Owner) -> None:
    """From `begin` to `end` a file holds the call's interrupted record; concurrent calls have their own files, and
    later calls reuse free ones."""
    for name in ("1", "2", "3"):
        owner.journal.begin(name, a_line(name))
    assert slots(owner) == [a_line("1"), a_line("2"), a_line("3")]
    owner.journal.end("2")
    assert slots(owner) == [a_line("1"), b"", a_line("3")]
    owner.journal.begin("4", a_line("4", "x" * 100_000))
    assert slots(owner) == [a_line("1"), a_line("4", "x" * 100_000), a_line("3")]
    owner.journal.end("4")
    owner.journal.begin("5", a_line("5"))
    assert slots(owner) == [a_line("1"), a_line("5"), a_line("3")]
    for name in ("1", "3", "5", "5", "never begun"):
        owner.journal.end(name)
    assert slots(owner) == [b"", b"", b""]


def test_close_leaves_the_calls_in_flight(root: Path) -> None:
    """`close` removes free files, and leaves those of calls in flight; a later `end` does no harm."""
    owner = Owner(root)
    for name in ("1", "2"):
        owner.journal.begin(name, a_line(name))
    owner.journal.end("1")
    owner.close()
    owner.journal.end("2")
    assert len(list(root.rglob("*.call"))) == 1
    assert adopted_by_next(root) == [a_line("2")]
    assert list(root.iterdir()) == []


def test_a_torn_file_is_ignored(root: Path) -> None:
    """A file without a newline belongs to a call that never went upstream: it yields no record, nor does an empty
    one."""
    owner = Owner(root)
    for name in ("1", "2", "3"):
        owner.journal.begin(name, a_line(name))
    owner.journal.end("3")
    Path(owner.journal._taken["1"].path).write_bytes(a_line("1"))
    owner.crash()
    assert adopted_by_next(root) == [a_line("2")]


def test_a_call_that_cannot_be_journalled_goes_on(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    """If no file can be created, that is counted and logged, without the call's content; later calls are journalled."""
    owner.directory.root.write_text("in the way")
    owner.journal.begin("1", a_line("1", "secret"))
    owner.journal.end("1")
    assert owner.journal.failures == 1
    assert "1 calls could not be journalled" in caplog.text
    assert "secret" not in caplog.text
    owner.directory.root.unlink()
    owner.journal.begin("2", a_line("2"))
    assert slots(owner) == [a_line("2")]


def test_a_file_that_cannot_be_emptied_is_not_reused(owner: Owner) -> None:
    """The failure is counted, and the next call has another file."""
    owner.journal.begin("1", a_line("1"))
    slot = owner.journal._taken["1"]
    os.close(slot.fd)
    owner.journal._taken["1"] = replace(slot, fd=os.open(slot.path, os.O_RDONLY))
    owner.journal.end("1")
    assert owner.journal.failures == 1
    owner.journal.begin("2", a_line("2"))
    assert slots(owner) == [a_line("1"), a_line("2")]


def test_a_stale_file_is_closed(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a mounted disk a removed file is stale (ESTALE): the call gets another one."""
    owner.journal.begin("1", a_line("1"))
    stale = owner.journal._taken["1"].path
    owner.journal.end("1")

    stale_fd, fstat = owner.journal._free[0].fd, os.fstat

    def stat(fd: int) -> os.stat_result:
        if fd == stale_fd:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return fstat(fd)

    with monkeypatch.context() as mount:
        mount.setattr(os, "fstat", stat)
        owner.journal.begin("2", a_line("2"))
    assert (slots(owner), owner.journal.failures) == ([b"", a_line("2")], 0)
    needs_proc()
    assert stale not in map(os.path.realpath, Path("/proc/self/fd").iterdir())


IN_A_CALL = """
from exporters.eventhub import EventHubSpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from otel.attributes import SCOPE
from otel.call import Call, Request
from otel.processor import RecordProcessor
from otel.provider import make_provider
from otel.span import CallSpan
import signal
owner = Owner(Path(sys.argv[1]))
exporter = EventHubSpanExporter(owner.spool, owner.journal, lambda seconds: True)
end = {"on_end": exporter.export, "before the end": exporter.export, "in the call": None}[sys.argv[2]]
if sys.argv[2] == "before the end":
    owner.journal.end = lambda call: os.kill(os.getpid(), signal.SIGKILL)
tracer = make_provider([RecordProcessor(exporter, exporter.begin, print)], ALWAYS_OFF).get_tracer(SCOPE)
call = Call("chat", deployment="d", request=Request("m", True, '["prompt"]'), caller={"user_id": "u"})
print(call.id, flush=True)
span = CallSpan(tracer, call)
if end:
    span.finish()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("moment", "status"), [("in the call", "interrupted"), ("before the end", "completed"), ("on_end", "completed")]
)
def test_kill_9_at_any_moment_leaves_one_record(root: Path, moment: str, status: str) -> None:
    """Killed before the record is written, before the journal's `end` or after it: one record, with the call's id."""
    with child(IN_A_CALL, root, moment) as process:
        call = process.stdout.read().strip()
        assert process.wait(60) == -signal.SIGKILL
    (line,) = adopted_by_next(root)
    record = checked(json.loads(line))
    assert (record["id"], record["status"], record["prompt"]) == (call, status, ["prompt"])
    assert record["caller"] == {"user_id": "u"}


def test_a_torn_record_does_not_end_the_call(root: Path) -> None:
    """The id in a torn line is not a record: the call gets its interrupted record."""
    dead = Owner(root)
    dead.spool.append(a_line("1"))
    dead.journal.begin("2", a_line("2", "interrupted"))
    dead.crash()
    with segments(root)[0].open("ab") as file:
        file.write(a_line("2", "finished" * 100)[:500])
    assert adopted_by_next(root) == [a_line("1"), a_line("2", "interrupted")]


@pytest.mark.parametrize("content", ["full", "none"])
def test_a_proxy_killed_in_a_call_leaves_an_interrupted_record(
    upstream: Any, process: Any, hub: HubReader, root: Path, content: str
) -> None:
    """After kill -9 while upstream is silent, and while it streams, the next proxy sends a record for each call, with
    its trace and prompt (or none), and no content or times."""
    asked: list[str] = []

    async def script(request: Seen, reply: Reply) -> None:
        asked.append(str(request.header("traceparent")))
        if len(asked) == 2:
            await reply.stream_head(**AZURE_HEADERS)
            for one in STREAM[:4]:
                await reply.chunk(one)
        await reply.hung_up()

    server = upstream(script)
    first = process(server.url, PROXY_CONTENT=content)
    traces = [f"{number + (content == 'full'):032x}" for number in (0x10A0, 0x10A2)]
    with client(first.url) as silent, client(first.url) as streaming:
        for number, (caller, trace) in enumerate(zip((silent, streaming), traces, strict=True), 1):
            headers = {"api-key": "client-key-0", "traceparent": f"00-{trace}-00000000000000aa-01"}
            caller.connection.request("POST", CHAT, chat_body(stream=True), headers)
            wait_until(lambda number=number: len(asked) == number)
        streaming.connection.getresponse().read1(1)
        lines = list(filter(None, in_flight(root)))
        assert len(lines) == 2
        assert all((b"Tell me a joke" in line) == (content == "full") for line in lines)
        first.signal(signal.SIGKILL)
        first.wait(60)
    process(server.url)
    for trace, traceparent in zip(traces, asked, strict=True):
        record = hub.record(trace)
        assert record["status"] == "interrupted"
        assert record["span_id"] == traceparent.split("-")[2]
        assert record["prompt"] == (PROMPT if content == "full" else None)
        assert record["content_captured"] == (content == "full")
        assert (record["content"], record["usage"], record["latency_ms"]) == ("", None, None)
        assert not {"time_to_first_chunk_ms", "streaming_duration_ms", "http_status"} & set(record)
        assert record["deployment"] == record["model"] == "chat-deployment"
        assert record["started_at"][:-1] < record["timestamp"]


def test_a_call_that_ended_before_the_kill_has_one_record(
    upstream: Any, process: Any, broker: Broker, root: Path, dead_port: int
) -> None:
    """After kill -9 once a response was sent, with the hub unreachable, the next proxy sends its record once, and no
    other."""
    server = upstream(answering)
    unreachable = re.sub(r"localhost:\d+", f"localhost:{dead_port}", broker.conn_str)
    assert unreachable != broker.conn_str
    first = process(server.url, unreachable)
    with client(first.url) as caller:
        traces = []
        for _ in range(5):
            answer = caller.chat()
            answer.read()
            traces.append(answer.trace_id)
        wait_until(lambda: not any(in_flight(root)))  # the last byte is sent before the call ends
    first.signal(signal.SIGKILL)
    first.wait(60)
    process(server.url)
    wait_until(lambda: not segments(root) and not list(root.rglob("*.call")))
    records = {record["id"]: record for record in broker.records() if record["trace_id"] in traces}.values()
    assert sorted(record["trace_id"] for record in records) == sorted(traces)
    assert {record["status"] for record in records} == {"completed"}


def test_a_sent_record_leaves_nothing_on_disk(upstream: Any, proxy: Any, hub: HubReader, root: Path) -> None:
    """Once its record is sent, nothing of a call is on disk: its file is empty, its segment removed."""
    with client(proxy(upstream(answering).url).url) as caller:
        answer = caller.chat()
        answer.read()
        hub.record(answer.trace_id)
    wait_until(lambda: not segments(root) and not any(in_flight(root)))
    assert [path.suffix for path in root.glob("*/*")] == [".call"]
