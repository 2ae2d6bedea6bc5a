"""The page is for this machine alone, and nothing in a record can act in it."""

import re
import socket
from pathlib import Path

import pytest

from tests.analytics.dashboard.serving import ROOT, Dashboard
from tests.kit.linux import needs_proc

ASSETS = ROOT / "analytics" / "dashboard" / "assets"
OURS = sorted(path for path in ASSETS.iterdir() if path.is_file())
PATHS = ["/", "/page.js", "/vendor/vega.min.js", "/api/view", "/api/call?id=x", "/nothing"]


def test_it_listens_on_loopback_alone(dashboard: Dashboard) -> None:
    """No address but 127.0.0.1 has the port: what the kernel says of all sockets that listen on it."""
    needs_proc()
    listening = [
        row.split()[1].partition(":")[0]
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if row.split()[1].endswith(f":{dashboard.port:04X}") and row.split()[3] == "0A"
    ]
    assert listening == ["0100007F"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", ""]
)
def test_another_name_is_refused(dashboard: Dashboard, path: str, host: str) -> None:
    """A name that was made to point here (DNS rebinding), or another port, gets nothing: 421."""
    response, body = dashboard.ask(path, host=host.format(port=dashboard.port))
    assert (response.status, body) == (421, b"This page is served to this machine only.\n")


def test_a_request_without_a_host_is_refused(dashboard: Dashboard) -> None:
    """As HTTP/1.0 may be."""
    with socket.create_connection(("127.0.0.1", dashboard.port), 60) as connection:
        connection.sendall(b"GET /api/view HTTP/1.0\r\n\r\n")
        assert b" 421 " in connection.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_served(dashboard: Dashboard, name: str) -> None:
    """By each of its names, from an address that the user typed or from the page itself."""
    for site in ("none", "same-origin"):
        response, _ = dashboard.ask("/api/view", host=f"{name}:{dashboard.port}", sec_fetch_site=site)
        assert response.status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_reads_nothing(dashboard: Dashboard, site: str) -> None:
    """A page from elsewhere, another port of this machine too, may link to the page and fetch none of its answers."""
    response, _ = dashboard.ask("/api/view", sec_fetch_site=site, sec_fetch_mode="no-cors")
    assert response.status == 403
    response, _ = dashboard.ask("/api/view", sec_fetch_site=site, sec_fetch_mode="navigate")
    assert response.status == 403
    response, _ = dashboard.ask("/", sec_fetch_site=site, sec_fetch_mode="navigate")
    assert response.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(dashboard: Dashboard, method: str) -> None:
    """There is nothing but reading."""
    assert dashboard.ask("/api/view", method)[0].status == 405


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_guarded(dashboard: Dashboard, path: str) -> None:
    """No source but the server itself, no markup or code from text, no frame, nothing kept in a cache."""
    headers = dashboard.ask(path)[0].headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == "'none'"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/vendor/../../cache.py", "//etc/passwd"])
def test_only_the_pages_files_are_served(dashboard: Dashboard, path: str) -> None:
    """No path leads out of the assets."""
    assert dashboard.ask(path)[0].status == 404


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(file: Path) -> None:
    """No address of another host, but the name of SVG's namespace; no text is parsed as markup or run as code."""
    text = file.read_text()
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    assert "style=" not in text
