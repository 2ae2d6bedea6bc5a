"""The pool: when a request reuses a connection, and when it opens a new one."""

import asyncio
import gc
import ssl
from pathlib import Path

import pytest
import trustme

from app.upstream import Disconnected, Origin, Pool, Request, Unreachable, connection, pool
from app.upstream.received import HIGH_WATER
from tests.app.upstream.conftest import Asking, Signal, whole
from tests.conftest import StartUpstream
from tests.kit.hub import wait_until
from tests.kit.upstream import Reply, ScriptedUpstream, Seen

pytestmark = pytest.mark.anyio


async def port(request: Seen, reply: Reply) -> None:
    """Respond with the client's port, which identifies the connection."""
    await reply.json(str(reply.writer.get_extra_info("peername")[1]).encode())


async def test_a_connection_is_reused(upstream: StartUpstream, ask: Asking) -> None:
    """Successive requests share one; concurrent ones have one each."""
    server = upstream(port)
    first = await whole(await ask(server.url))
    assert await whole(await ask(server.url)) == first
    held = [await ask(server.url) for _ in range(3)]
    ports = [await whole(answer) for answer in held]
    assert await whole(await ask(server.url)) in ports


async def test_each_origin_has_its_own_connections(upstream: StartUpstream, ask: Asking) -> None:
    """No request goes to another upstream."""
    servers = [upstream(port) for _ in range(2)]
    for _ in range(2):
        for server in servers:
            await whole(await ask(server.url))
    assert [len(server.seen) for server in servers] == [2, 2]


async def test_an_unread_response_closes_its_connection(upstream: StartUpstream, ask: Asking) -> None:
    """No other request may get the rest of it."""
    gone = Signal()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"a")
        await reply.hung_up()
        gone.give()

    answer = await ask(upstream(script).url)
    answer.close()
    await gone.wait()
    with pytest.raises(Disconnected):
        await whole(answer)


@pytest.mark.parametrize("read", [True, False])
async def test_a_paused_connection_is_resumed_for_reuse(upstream: StartUpstream, ask: Asking, read: bool) -> None:
    """Even if reading was paused when the response ended, whether that is read later or never."""
    rest, ports = Signal(), set[int]()
    sizes = HIGH_WATER, 1  # the last byte comes alone

    async def script(request: Seen, reply: Reply) -> None:
        ports.add(reply.writer.get_extra_info("peername")[1])
        await reply.head(200, {"content-length": str(sum(sizes))})
        await reply.raw(bytes(sizes[0]))
        await rest.wait_in_script()
        await reply.raw(bytes(sizes[1]))

    server = upstream(script)
    first = await ask(server.url)
    async with asyncio.timeout(60):
        await asyncio.to_thread(wait_until, lambda: first._size == sizes[0])
        for _ in range(2):
            rest.give()  # one per request
        await asyncio.to_thread(wait_until, lambda: first.ended)
        if not read:
            first.close()
        second = await ask(server.url)
        assert len(await whole(second)) == sum(sizes)
        assert len(await whole(first)) == sum(sizes)
    assert len(ports) == 1


@pytest.mark.parametrize("together", [True, False])
async def test_unsolicited_bytes_close_the_connection(upstream: StartUpstream, ask: Asking, together: bool) -> None:
    """A second response to one request, immediately or later, belongs to no request."""
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"
    read, gone = Signal(), Signal()
    ports: set[int] = set()

    async def script(request: Seen, reply: Reply) -> None:
        ports.add(reply.writer.get_extra_info("peername")[1])
        await reply.raw(one + one if together else one)
        if not together:
            await read.wait_in_script()
            await reply.raw(one)
        await reply.hung_up()
        gone.give()

    server = upstream(script)
    for count in (1, 2):
        assert await whole(await ask(server.url)) == b"a"
        read.give()
        await gone.wait()
        assert len(ports) == count


@pytest.mark.parametrize(("stale_s", "stale"), [(60.0, True), (0.0, False)])
async def test_a_lost_reused_connection_is_stale_only_at_first(
    upstream: StartUpstream, ask: Asking, monkeypatch: pytest.MonkeyPatch, stale_s: float, stale: bool
) -> None:
    """If a reused connection breaks immediately, upstream had closed it before: the request can be retried. Later,
    upstream may have processed the request, and billed it."""
    monkeypatch.setattr(connection, "STALE_S", stale_s)
    ports = set[int]()

    async def script(request: Seen, reply: Reply) -> None:
        port = reply.writer.get_extra_info("peername")[1]
        if port in ports:
            reply.writer.close()
        else:
            ports.add(port)
            await reply.json(b"{}")

    server = upstream(script)
    await whole(await ask(server.url))
    with pytest.raises(Disconnected) as fault:
        await ask(server.url)
    assert fault.value.stale is stale


async def test_an_idle_connection_is_closed(
    upstream: StartUpstream, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its limit it is not reused, since upstream may be closing it; it is closed even without further requests."""
    monkeypatch.setattr(pool, "IDLE_S", 0.0)
    gone = Signal()

    async def script(request: Seen, reply: Reply) -> None:
        await port(request, reply)
        await reply.hung_up()
        gone.give()

    server = upstream(script)
    first = await whole(await ask(server.url))
    assert await whole(await ask(server.url)) != first
    for _ in range(2):
        await gone.wait()


async def test_an_unreachable_upstream(ask: Asking, dead_port: int) -> None:
    """The error for a refused connection or an unknown host does not show the host."""
    for url in (f"http://127.0.0.1:{dead_port}", "http://nobody.invalid"):
        with pytest.raises(Unreachable) as fault:
            await ask(url)
        assert str(fault.value) == "no connection"


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate must be trusted and match the host; connections over TLS are reused like any other."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    def server_side(issuer: trustme.CA, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(host).configure_cert(context)
        return context

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    asking = Asking()
    with ScriptedUpstream(port, server_side(ca, "127.0.0.1")) as server:
        ports = {await whole(await asking(server.url)) for _ in range(2)}
        assert len(ports) == 1
    for wrong in (server_side(ca, "10.0.0.1"), server_side(trustme.CA(), "127.0.0.1")):
        with ScriptedUpstream(port, wrong) as server, pytest.raises(Unreachable, match="no trusted TLS"):
            await asking(server.url)
    await asking.pool.close()
    gc.collect()  # else the server's side of a failed handshake would warn in another test


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://a.openai.azure.com", b"a.openai.azure.com"),
        ("https://a.openai.azure.com:443/x", b"a.openai.azure.com"),
        ("http://a:8080", b"a:8080"),
        ("http://[::1]:80", b"[::1]"),
        ("https://b\u00fcro.example", b"xn--bro-hoa.example"),
    ],
)
async def test_the_host_header(url: str, authority: bytes) -> None:
    """It has the port unless it is the default, and names in ASCII (RFC 9110 §7.2)."""
    assert Origin.of(url).authority == authority


async def test_close_closes_all_connections(upstream: StartUpstream) -> None:
    """Free ones, and those in use."""
    gone = Signal()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"a")
        if request.target == "/free":
            await reply.end()
            return
        await reply.hung_up()
        gone.give()

    server, closing = upstream(script), Pool()
    free = await closing.request(Origin.of(server.url), Request("GET", "/free", []))
    assert await whole(free) == b"a"
    used = [await closing.request(Origin.of(server.url), Request("GET", "/used", [])) for _ in range(2)]
    await closing.close()
    for answer in used:
        with pytest.raises(Disconnected):
            await whole(answer)
    for _ in range(2):
        await gone.wait()
