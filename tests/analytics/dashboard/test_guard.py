"""The page is for this machine only, and nothing in a record can run as code."""

import re
import socket
from pathlib import Path

import pytest

from tests.analytics.dashboard.serving import Dashboard
from tests.analytics.kit import ROOT
from tests.kit.linux import needs_proc

ASSETS = ROOT / "analytics" / "dashboard" / "assets"
OURS = sorted(path for path in ASSETS.iterdir() if path.is_file())
PATHS = ["/", "/page.js", "/vendor/vega.min.js", "/api/view", "/api/call?id=x", "/nothing"]


def test_it_listens_on_loopback_only(dashboard: Dashboard) -> None:
    """No address but 127.0.0.1 has the port, according to the kernel's list of listening sockets."""
    needs_proc()
    listening = [
        row.split()[1].partition(":")[0]
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if row.split()[1].endswith(f":{dashboard.port:04X}") and row.split()[3] == "0A"
    ]
    assert listening == ["0100007F"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", ""]
)
def test_other_host_names_are_refused(dashboard: Dashboard, host: str) -> None:
    """A name that resolves to this machine (DNS rebinding), or another port, gets 421 for every path."""
    for path in PATHS:
        response, body = dashboard.ask(path, host=host.format(port=dashboard.port))
        assert (response.status, body) == (421, b"This page is served to this machine only.\n"), path


def test_a_request_without_a_host_is_refused(dashboard: Dashboard) -> None:
    """HTTP/1.0 allows it."""
    with socket.create_connection(("127.0.0.1", dashboard.port), 60) as connection:
        connection.sendall(b"GET /api/view HTTP/1.0\r\n\r\n")
        assert b" 421 " in connection.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_served(dashboard: Dashboard, name: str) -> None:
    """By each of its names, from a typed address or the page itself."""
    for site in ("none", "same-origin"):
        response, _ = dashboard.ask("/api/view", host=f"{name}:{dashboard.port}", sec_fetch_site=site)
        assert response.status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_read_nothing(dashboard: Dashboard, site: str) -> None:
    """A page on another site, or another port of this machine, may link to the page but not fetch its data."""
    response, _ = dashboard.ask("/api/view", sec_fetch_site=site, sec_fetch_mode="no-cors")
    assert response.status == 403
    response, _ = dashboard.ask("/api/view", sec_fetch_site=site, sec_fetch_mode="navigate")
    assert response.status == 403
    response, _ = dashboard.ask("/", sec_fetch_site=site, sec_fetch_mode="navigate")
    assert response.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_get_and_head_are_allowed(dashboard: Dashboard, method: str) -> None:
    """Other methods get 405."""
    assert dashboard.ask("/api/view", method)[0].status == 405


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_security_headers(dashboard: Dashboard, path: str) -> None:
    """Sources from the server only, no markup or code from text, no frames, no caching."""
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
def test_no_path_leads_out_of_the_assets(dashboard: Dashboard, path: str) -> None:
    """Traversal, encoded or not, gets 404."""
    assert dashboard.ask(path)[0].status == 404


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_assets_load_nothing_from_other_hosts(file: Path) -> None:
    """No URL of another host, except SVG's namespace; no text is parsed as markup or run as code."""
    text = file.read_text()
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    assert "style=" not in text
