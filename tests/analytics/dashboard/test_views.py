"""What the page's server answers, over its socket: the right calls, of a table that changes beneath it."""

import json
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.analytics.dashboard.serving import ROOT, Dashboard, add
from tests.analytics.kit import START, call_id, line


def ids(view: dict[str, list[dict[str, str]]]) -> set[int]:
    return {int(call["id"], 16) for call in view["calls"]}


def test_a_view_counts_what_can_be_counted_by_hand(dashboard: Dashboard) -> None:
    """Twelve calls: nine completed, one given up, two failed, two filtered; times and tokens as they were written."""
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
def test_filters_choose_calls(dashboard: Dashboard, query: dict[str, str], found: set[int]) -> None:
    """By the end of the call, region, deployment and caller, together; text is compared and never taken for SQL."""
    view = dashboard.get("/api/view", **query)
    assert ids(view) == found
    assert view["totals"]["calls"] == sum(row["calls"] for row in view["by_region"]) == len(found)
    assert dashboard.get("/api/view")["table"]["calls"] == 12


@pytest.mark.parametrize(
    "query",
    [{"since": "yesterday"}, {"last": "1e3"}, {"last": "9" * 30}, {"by": "id"}, {"before": "0001-01-01T00:00+14:00"}],
)
def test_nonsense_is_refused(dashboard: Dashboard, query: dict[str, str]) -> None:
    """A selection that means nothing gets 400 with the reason, whatever was asked."""
    response, body = dashboard.ask(f"/api/view?{urlencode(query)}")
    assert response.status == 400
    assert json.loads(body)["error"]


def test_a_record_is_whole(dashboard: Dashboard) -> None:
    """All columns of one call, with its content and a link to its trace; an unknown id gets 404."""
    record = dashboard.get("/api/call", id=call_id(7))
    assert (record["status"], record["http_status"], record["error_message"]) == ("upstream_error", 429, "slow down")
    assert json.loads(record["prompt"]) == [{"role": "user", "content": "prompt 7"}]
    assert record["trace_id"] in record["trace_url"]
    assert "resourceId/%2Fsubscriptions%2Fs%2Fx%20y/" in record["trace_url"]
    response, body = dashboard.ask("/api/call?id=nothing")
    assert (response.status, "no such call" in json.loads(body)["error"]) == (404, True)


def test_an_unchanged_view_is_not_sent_again(dashboard: Dashboard) -> None:
    """With If-None-Match the answer is 304 until there is something new."""
    response, _ = dashboard.ask("/api/view?region=x")
    again, body = dashboard.ask("/api/view?region=x", if_none_match=str(response.headers["etag"]))
    assert (again.status, body) == (304, b"")


def test_the_table_is_followed(tmp_path: Path) -> None:
    """An empty table; a file that comes; one that others are merged into; one rewritten; one deleted: all are seen."""
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


def test_no_content_stays_no_content(tmp_path: Path) -> None:
    """Of a record without content the server has none; of any, a view has none."""
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


def test_older_calls_come_page_by_page(tmp_path: Path) -> None:
    """Each call once and newest first, also where many ended in the same moment."""
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


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """What is no Parquet is told as such, with 503; when it is gone the page works again."""
    broken = add(tmp_path, line(1), first=0)
    broken.write_bytes(b"PAR1 but no more")
    with Dashboard(tmp_path) as running:
        response, body = running.ask("/api/view")
        assert response.status == 503
        assert broken.name in json.loads(body)["error"]
        broken.unlink()
        assert running.get("/api/view")["totals"]["calls"] == 0


def test_it_starts_and_ends_well(tmp_path: Path) -> None:
    """A taken port is said at once; Ctrl-C ends it, and leaves nothing in the temporary directory."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "analytics.dashboard", "--table", str(tmp_path), "--port", port]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, port in ended.stderr) == (1, True)
    with Dashboard(tmp_path / "table") as running:
        running.get("/api/view")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) in (0, -signal.SIGINT)
