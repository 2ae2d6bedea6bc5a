"""The page's server over its socket: the right calls, while the table changes."""

import json
import signal
import socket
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.analytics.dashboard.serving import Dashboard, add
from tests.analytics.kit import START, call_id, line, run


def ids(view: dict[str, list[dict[str, str]]]) -> set[int]:
    return {int(call["id"], 16) for call in view["calls"]}


def test_a_view_counts_the_calls(dashboard: Dashboard) -> None:
    """Twelve calls: nine completed, one aborted, two failed, two filtered; times and tokens as written."""
    view = dashboard.get("/api/view")
    assert view["table"]["calls"] == 12
    totals = view["totals"]
    assert [totals[name] for name in ("calls", "completed", "aborted", "failed", "filtered")] == [12, 9, 1, 2, 2]
    assert (totals["prompt_tokens"], totals["completion_tokens"]) == (9010, 687)
    assert totals["first_token"] == [200, 500]
    assert sum(row["completed"] + row["aborted"] + row["failed"] for row in view["over_time"]) == 12
    assert view["over_time"][0]["at"] == "2024-11-13T06:30:00Z"
    assert view["by_region"][0] | {"first_chunk": 0, "first_token": 0} == {
        "region": "Sweden Central",
        "deployment": "gpt-4o",
        "calls": 9,
        "first_chunk": 0,
        "first_token": 0,
    }
    assert [(row["caller"], row["calls"]) for row in view["by_caller"]] == [("team-a", 9), ("team-b", 3)]
    assert {"field": "region", "value": "Japan East", "calls": 3} in view["choices"]
    assert [call["timestamp"] for call in view["calls"]] == sorted(
        (c["timestamp"] for c in view["calls"]), reverse=True
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"since": "2024-11-14"}, {10, 11, 12}),
        ({"since": "2024-11-13T07:00", "before": "2024-11-13T08:02:30+01:00"}, {1, 2}),
        ({"region": "Japan East"}, {10, 11, 12}),
        ({"region": "Japan East", "deployment": "mini"}, {10, 11}),
        ({"by": "user_id", "caller": "bob"}, {10, 11, 12}),
        ({"by": "product", "caller": "bob"}, set()),
        ({"caller": "team-b", "deployment": "own"}, {12}),
        ({"region": ""}, set()),
        ({"region": "' OR 1=1; DROP TABLE calls; --"}, set()),
        ({"by": "user_id", "caller": "%"}, set()),
    ],
)
def test_filters_select_calls(dashboard: Dashboard, query: dict[str, str], found: set[int]) -> None:
    """By end, region, deployment and caller, combined; values are compared as text and never run as SQL."""
    view = dashboard.get("/api/view", **query)
    assert ids(view) == found
    assert view["totals"]["calls"] == sum(row["calls"] for row in view["by_region"]) == len(found)
    assert dashboard.get("/api/view")["table"]["calls"] == 12


@pytest.mark.parametrize(
    "query",
    [{"since": "yesterday"}, {"last": "1e3"}, {"last": "9" * 30}, {"by": "id"}, {"before": "0001-01-01T00:00+14:00"}],
)
def test_invalid_selections_are_rejected(dashboard: Dashboard, query: dict[str, str]) -> None:
    """With 400 and a reason."""
    response, body = dashboard.ask(f"/api/view?{urlencode(query)}")
    assert response.status == 400
    assert json.loads(body)["error"]


def test_a_call_returns_the_whole_record(dashboard: Dashboard) -> None:
    """All columns, with content and a link to its trace; an unknown id gets 404."""
    record = dashboard.get("/api/call", id=call_id(7))
    assert (record["status"], record["http_status"], record["error_message"]) == ("upstream_error", 429, "slow down")
    assert json.loads(record["prompt"]) == [{"role": "user", "content": "prompt 7"}]
    assert record["trace_id"] in record["trace_url"]
    assert "resourceId/%2Fsubscriptions%2Fs%2Fx%20y/" in record["trace_url"]
    response, body = dashboard.ask("/api/call?id=nothing")
    assert (response.status, "no such call" in json.loads(body)["error"]) == (404, True)


def test_an_unchanged_view_is_not_sent_again(dashboard: Dashboard) -> None:
    """With If-None-Match the response is 304 while nothing is new."""
    response, _ = dashboard.ask("/api/view?region=x")
    again, body = dashboard.ask("/api/view?region=x", if_none_match=str(response.headers["etag"]))
    assert (again.status, body) == (304, b"")


def test_a_response_counts_once(tmp_path: Path) -> None:
    """However often it was fetched, and in whatever order its records come; another response is not concerned."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    fetched = {"operation": "fetch_response", "response_id": "resp_1", "usage_source": "reported", "usage": usage}
    made = {"operation": "chat", "response_id": "resp_1", "usage_source": "pending", "usage": None}
    other = {**fetched, "operation": "chat", "response_id": "resp_2"}

    def tokens(running: Dashboard) -> tuple[int, int]:
        view = running.get("/api/view")
        return view["totals"]["prompt_tokens"], sum(row["prompt_tokens"] for row in view["by_caller"])

    with Dashboard(tmp_path / "table") as running:
        add(tmp_path / "table", line(5, **fetched), line(6, **fetched), first=0)
        assert tokens(running) == (7, 7)
        add(tmp_path / "table", line(1, **made), line(4, **fetched), first=2)
        assert tokens(running) == (7, 7)
        add(tmp_path / "table", line(7, **other), first=4)
        assert tokens(running) == (14, 14)


def test_changes_of_the_table_appear(tmp_path: Path) -> None:
    """New, merged, rewritten and deleted files, starting from an empty table."""
    table = tmp_path / "it's a table"
    with Dashboard(table) as running:
        view = running.get("/api/view")
        assert (view["totals"]["calls"], view["calls"], view["table"]["first"]) == (0, [], None)

        first = add(table, line(1), first=0)
        second = add(table, line(2), line(3, status="interrupted", latency_ms=None), first=1)
        assert ids(running.get("/api/view")) == {1, 2, 3}

        merged = add(table, line(1), line(2), line(3, status="interrupted"), first=0)
        assert ids(running.get("/api/view")) == {1, 2, 3}
        first.unlink()
        second.unlink()
        assert running.get("/api/view")["totals"]["calls"] == 3
        assert running.get("/api/call", id=call_id(2))["content"] == "answer 2"

        add(table, line(1), line(2), first=0, last=2)
        assert ids(running.get("/api/view")) == {1, 2}
        merged.unlink()
        assert running.get("/api/view")["totals"]["calls"] == 0


def test_content_is_only_in_its_record(tmp_path: Path) -> None:
    """A record captured without content has none, and a view never has any."""
    secret = line(1, prompt="the secret", content="the answer")
    without = line(2, prompt=None, content="", content_captured=False)
    add(tmp_path, secret, without.replace(b'"content":""', b'"content":"","prompt":null'), first=0)
    with Dashboard(tmp_path) as running:
        record = running.get("/api/call", id=call_id(2))
        assert (record["content_captured"], record["prompt"], record["content"]) == (False, "", "")
        response, body = running.ask("/api/view")
        assert response.status == 200
        assert b"the secret" not in body
        assert b"the answer" not in body


def test_older_calls_are_paged(tmp_path: Path) -> None:
    """Each call once, newest first, even if many end at the same time."""
    bodies = [line(number, START + timedelta(microseconds=number // 60)) for number in range(250)]
    add(tmp_path, *bodies, first=0)
    with Dashboard(tmp_path) as running:
        calls = running.get("/api/view")["calls"]
        while True:
            page = running.get("/api/calls", last_at=calls[-1]["timestamp"], last_id=calls[-1]["id"])["calls"]
            if not page:
                break
            calls += page
    assert [int(call["id"], 16) for call in calls] == [*reversed(range(250))]


def test_a_broken_file_is_reported(tmp_path: Path) -> None:
    """A file that is not Parquet gives 503 with its name; once it is deleted the page works again."""
    broken = add(tmp_path, line(1), first=0)
    broken.write_bytes(b"PAR1 but no more")
    with Dashboard(tmp_path) as running:
        response, body = running.ask("/api/view")
        assert response.status == 503
        assert broken.name in json.loads(body)["error"]
        broken.unlink()
        assert running.get("/api/view")["totals"]["calls"] == 0


def test_startup_and_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port in use is reported; Ctrl-C stops the server and leaves no temporary files."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("analytics.dashboard", "--table", tmp_path, "--port", port)
    assert (ended.returncode, port in ended.stderr) == (1, True)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with Dashboard(tmp_path / "table") as running:
        running.get("/api/view")
        assert list(temporary.iterdir())
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) in (0, -signal.SIGINT)
    assert list(temporary.iterdir()) == []
