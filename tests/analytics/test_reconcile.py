"""API Management's log of model calls beside the table: what one of them lacks, and counts that differ."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.core.credentials import AccessToken

from analytics.folder import LocalFolder
from analytics.reconcile.compare import compare, recorded
from analytics.reconcile.log import NotALog, asked, calls, exported
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, encoded
from tests.analytics.kit import START, call_id, line, run

BEGAN = START.replace(tzinfo=None) - timedelta(seconds=2)
PERIOD = ("--since", "2024-11-13T06:00", "--until", "2024-11-13T07:00")


def gateway_id(number: int) -> str:
    return f"{number:08d}-0000-0000-0000-00000000000a"


def entry(number: int, at: datetime = BEGAN, **more: Any) -> dict[str, Any]:
    """A row of the log, as `az monitor log-analytics query` prints it."""
    return {
        "TimeGenerated": f"{at.isoformat()}Z",
        "CorrelationId": gateway_id(number).upper(),
        "OperationName": "ChatCompletions_Create",
        "ModelName": "gpt-4o",
        "DeploymentName": "gpt-4o",
        "PromptTokens": 10,
        "CompletionTokens": 20,
        **more,
    }


def of_gateway(number: int, at: datetime = START, **more: Any) -> bytes:
    """A record of a call that came through API Management."""
    caller = {"subscription_id": "team-a", "gateway_request_id": gateway_id(number)}
    return line(number, at, caller=caller, **more)


def write(table: Path, *bodies: bytes) -> None:
    for number, (hour, rows) in enumerate(by_hour(table_of([parse(body) for body in bodies])).items()):
        LocalFolder(table).write(Part(hour, "ab", "0", number, number).name, encoded(rows))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Calls 1 to 4 through API Management, and call 5 past it."""
    directory = tmp_path / "table"
    aborted = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    write(
        directory,
        *(of_gateway(number) for number in (1, 2)),
        of_gateway(3, status="client_aborted", usage=aborted, usage_source="estimated"),
        of_gateway(4, operation="embeddings"),
        of_gateway(6, http_status=101, operation="realtime"),
        line(5),
    )
    return directory


def test_it_lists_what_either_lacks_and_what_differs(tmp_path: Path, table: Path) -> None:
    """A call without a record, a record without a log entry, and other counts: one line each, and exit status 1."""
    log = tmp_path / "log.json"
    log.write_text(json.dumps([entry(1), entry(2), entry(3, CompletionTokens=9), entry(7)]))
    ended = run("analytics.reconcile", "--table", table, "--export", log, *PERIOD, "--json")
    assert ended.returncode == 1, ended.stderr
    *lines, summary = map(json.loads, ended.stdout.splitlines())
    found = {each["gateway_request_id"]: each for each in lines}
    assert {id: each["what"] for id, each in found.items()} == {
        gateway_id(3): "tokens",
        gateway_id(4): "only_recorded",
        gateway_id(7): "only_logged",
    }
    third = found[gateway_id(3)]
    assert (third["status"], third["record_id"]) == ("client_aborted", call_id(3))
    assert (third["logged_tokens"], third["recorded_tokens"]) == ([10, 9], [10, 7])
    assert summary == {
        "logged": 4,
        "recorded": 4,
        "both": 3,
        "unpaired": 1,
        "differences": {"only_logged": 1, "only_recorded": 1, "tokens": 1},
    }
    words = run("analytics.reconcile", "--table", table, "--export", log, *PERIOD).stdout
    assert "4 logged, 4 recorded, 3 in both" in words
    assert "1 records without API Management's id were not compared" in words


def test_sides_that_agree(tmp_path: Path, table: Path) -> None:
    """Exit status 0; counts within the tolerance agree, and a count of nothing may be left out."""
    log = tmp_path / "log.json"
    entries = [entry(1), entry(2), entry(3, CompletionTokens=9), entry(4)]
    log.write_text("\n".join(map(json.dumps, entries)))
    assert run("analytics.reconcile", "--table", table, "--export", log, *PERIOD, "--tolerance", "2").returncode == 0
    assert run("analytics.reconcile", "--table", table, "--export", log, *PERIOD, "--tolerance", "1").returncode == 1


def test_rows_of_one_call_are_joined() -> None:
    """A long message makes several rows, of which one has the counts."""
    parts = [entry(1, PromptTokens=None, CompletionTokens=0), entry(1, at=BEGAN + timedelta(seconds=1))]
    (call,) = calls(parts)
    assert (call.at, call.prompt_tokens, call.completion_tokens) == (BEGAN, 10, 20)
    assert call.id == gateway_id(1)


def test_the_portals_csv_is_read(tmp_path: Path) -> None:
    """Its time column names the zone, and the file begins with a byte order mark."""
    log = tmp_path / "log.csv"
    columns = [name for name in entry(1) if name != "TimeGenerated"]
    values = ",".join(str(entry(1)[name]) for name in columns)
    head = ",".join(["TimeGenerated [UTC]", *columns])
    log.write_text(f'{head}\n"11/13/2024, 6:59:28.584 AM",{values}\n', encoding="utf-8-sig")
    (call,) = exported(log)
    assert (call.at, call.prompt_tokens) == (BEGAN.replace(microsecond=584000), 10)


@pytest.mark.parametrize(
    "text", ["[{]", '[{"a": 1}]', "a,b\n1,2\n", '[{"CorrelationId": "1", "TimeGenerated": "then"}]']
)
def test_another_file_is_refused(tmp_path: Path, table: Path, text: str) -> None:
    """What is no export of the table ends with a message and exit status 2."""
    log = tmp_path / "log"
    log.write_text(text)
    with pytest.raises(NotALog):
        exported(log)
    ended = run("analytics.reconcile", "--table", table, "--export", log, *PERIOD)
    assert (ended.returncode, "NotALog" in ended.stderr, "Traceback" in ended.stderr) == (2, True, False)


def test_calls_at_the_edges_find_their_other_half(tmp_path: Path) -> None:
    """A call that began before the period by one clock, and in it by the other, is compared, not reported missing."""
    directory = tmp_path / "table"
    edge = datetime(2024, 11, 13, 7)
    begins = START.replace(hour=7, minute=0, second=1, microsecond=0)
    write(directory, of_gateway(1, begins), of_gateway(2, begins + timedelta(hours=1, seconds=2)))
    until = edge + timedelta(hours=1)
    records = recorded(str(directory), edge - timedelta(hours=1), until + timedelta(hours=1))
    logged = calls([entry(1, edge), entry(2, until - timedelta(seconds=1))])
    found = compare(logged, records, edge, until)
    assert (found.differences, found.logged, found.recorded, found.both) == ([], 2, 0, 2)


class Credential:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert len(scopes) == 1
        return AccessToken("a-token", 2**40)


@contextmanager
def workspace(tmp_path: Path, answer: dict[str, Any]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """A stand-in for Log Analytics: its endpoint, its certificate, and the requests it got."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({"path": self.path, "token": self.headers["authorization"], **body})
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/v1", str(tmp_path / "ca.pem"), seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def table_answer(*entries: dict[str, Any]) -> dict[str, Any]:
    columns = [
        {"name": name, "type": "datetime" if name == "TimeGenerated" else "int" if "Tokens" in name else "string"}
        for name in entries[0]
    ]
    return {
        "tables": [{"name": "PrimaryResult", "columns": columns, "rows": [list(each.values()) for each in entries]}]
    }


def test_a_workspace_is_asked(tmp_path: Path) -> None:
    """The published client asks for the period without the messages, and its rows are read like an export's."""
    with workspace(tmp_path, table_answer(entry(1), entry(2))) as (endpoint, certificate, seen):
        until = BEGAN + timedelta(hours=1)
        found = asked("the-workspace", BEGAN, until, Credential(), endpoint=endpoint, connection_verify=certificate)
    assert found == calls([entry(1), entry(2)])
    (request,) = seen
    assert (request["path"], request["token"]) == ("/v1/workspaces/the-workspace/query", "Bearer a-token")
    assert request["timespan"].startswith("2024-11-13T06:59:28")
    assert "Messages" not in request["query"]


def test_a_partial_answer_is_refused(tmp_path: Path) -> None:
    """If the workspace gives only a part, calls would seem to be missing."""
    answer = table_answer(entry(1)) | {"error": {"code": "PartialError", "message": "too much"}}
    with workspace(tmp_path, answer) as (endpoint, certificate, _), pytest.raises(NotALog, match="only a part"):
        asked("w", BEGAN, BEGAN, Credential(), endpoint=endpoint, connection_verify=certificate)
