"""The pool: which connection a request is given, when a new one is opened, and over what."""

import asyncio
import gc
import ssl
from pathlib import Path

import pytest
import trustme

from app.upstream import Disconnected, Origin, Pool, Request, Unreachable, connection, pool
from app.upstream.received import HIGH_WATER
from tests.app.upstream.conftest import Asking, Serve, whole
from tests.kit.hub import wait_until
from tests.kit.upstream import Reply, ScriptedUpstream, Seen

pytestmark = pytest.mark.anyio


async def port(request: Seen, reply: Reply) -> None:
    """Tell the client's port: which connection it is."""
    await reply.json(str(reply.writer.get_extra_info("peername")[1]).encode())


async def test_a_connection_is_kept(serve: Serve, ask: Asking) -> None:
    """Requests one after the other share it; those at the same time have one each; the last one used is taken next."""
    server = serve(port)
    first = await whole(await ask(server.url))
    assert await whole(await ask(server.url)) == first
    held = [await ask(server.url) for _ in range(3)]
    ports = [await whole(answer) for answer in held]
    assert await whole(await ask(server.url)) in ports


async def test_each_origin_has_its_own(serve: Serve, ask: Asking) -> None:
    """No request goes to another upstream than its own."""
    servers = [serve(port) for _ in range(2)]
    for _ in range(2):
        for server in servers:
            await whole(await ask(server.url))
    assert [len(server.seen) for server in servers] == [2, 2]


async def test_an_answer_that_is_not_read_costs_the_connection(serve: Serve, ask: Asking) -> None:
    """Nobody else may get the rest of it."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"a")
        await reply.hung_up()
        loop.call_soon_threadsafe(gone.set)

    answer = await ask(serve(script).url)
    answer.close()
    await asyncio.wait_for(gone.wait(), 60)
    with pytest.raises(Disconnected):
        await whole(answer)


@pytest.mark.parametrize("read", [True, False])
async def test_a_connection_is_kept_ready_to_be_read(serve: Serve, ask: Asking, read: bool) -> None:
    """Also if it was stopped because of an answer of which too much was waiting when it ended, read later or never."""
    rest, loop, ports = asyncio.Event(), asyncio.get_running_loop(), set[int]()
    sizes = HIGH_WATER, 1  # the last byte comes alone

    async def script(request: Seen, reply: Reply) -> None:
        ports.add(reply.writer.get_extra_info("peername")[1])
        await reply.head(200, {"content-length": str(sum(sizes))})
        await reply.raw(bytes(sizes[0]))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(rest.wait(), loop))
        await reply.raw(bytes(sizes[1]))

    server = serve(script)
    first = await ask(server.url)
    async with asyncio.timeout(60):
        await asyncio.to_thread(wait_until, lambda: first._size == sizes[0])
        rest.set()
        await asyncio.to_thread(wait_until, lambda: first.ended)
        if not read:
            first.close()
        second = await ask(server.url)
        assert len(await whole(second)) == sum(sizes)
        assert len(await whole(first)) == sum(sizes)
    assert len(ports) == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_bytes_that_nobody_asked_for_cost_the_connection(serve: Serve, ask: Asking, at_once: bool) -> None:
    """A second answer behind the first, at once or later, is nobody's."""
    loop, one = asyncio.get_running_loop(), b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"
    read, gone = asyncio.Semaphore(0), asyncio.Semaphore(0)
    ports: set[int] = set()

    async def script(request: Seen, reply: Reply) -> None:
        ports.add(reply.writer.get_extra_info("peername")[1])
        await reply.raw(one + one if at_once else one)
        if not at_once:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read.acquire(), loop))
            await reply.raw(one)
        await reply.hung_up()
        loop.call_soon_threadsafe(gone.release)

    server = serve(script)
    for count in (1, 2):
        assert await whole(await ask(server.url)) == b"a"
        read.release()
        await asyncio.wait_for(gone.acquire(), 60)
        assert len(ports) == count


@pytest.mark.parametrize(("at_once", "stale"), [(60.0, True), (0.0, False)])
async def test_a_request_that_was_not_answered(
    serve: Serve, ask: Asking, monkeypatch: pytest.MonkeyPatch, at_once: float, stale: bool
) -> None:
    """Of a kept connection that is lost at once, upstream had let go before: the request may go out anew. Of one that
    is lost later upstream may have done what was asked, for money."""
    monkeypatch.setattr(connection, "STALE_S", at_once)
    ports = set[int]()

    async def script(request: Seen, reply: Reply) -> None:
        port = reply.writer.get_extra_info("peername")[1]
        if port in ports:
            reply.writer.close()
        else:
            ports.add(port)
            await reply.json(b"{}")

    server = serve(script)
    await whole(await ask(server.url))
    with pytest.raises(Disconnected) as fault:
        await ask(server.url)
    assert fault.value.stale is stale


async def test_what_was_free_for_too_long_is_not_used(
    serve: Serve, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past that time upstream may be about to close it; and it is closed, also if nobody asks any more."""
    monkeypatch.setattr(pool, "IDLE_S", 0.0)
    gone = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    async def script(request: Seen, reply: Reply) -> None:
        await port(request, reply)
        await reply.hung_up()
        loop.call_soon_threadsafe(gone.release)

    server = serve(script)
    first = await whole(await ask(server.url))
    assert await whole(await ask(server.url)) != first
    for _ in range(2):
        await asyncio.wait_for(gone.acquire(), 60)


async def test_nobody_there(ask: Asking, dead_port: int) -> None:
    """A refused connection and a name that nobody knows are said without the name."""
    for url in (f"http://127.0.0.1:{dead_port}", "http://nobody.invalid"):
        with pytest.raises(Unreachable) as fault:
            await ask(url)
        assert str(fault.value) == "no connection"


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is trusted and names the host is needed; requests over TLS are like any other."""
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
    gc.collect()  # the server's side of a handshake that failed is left to it, and would complain in another test


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
async def test_what_host_says(url: str, authority: bytes) -> None:
    """The port where it is not the usual one; names in ASCII (RFC 9110 §7.2)."""
    assert Origin.of(url).authority == authority


async def test_a_pool_that_is_closed_leaves_nothing_open(serve: Serve) -> None:
    """Connections that are free, and those in use."""
    gone = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"a")
        if request.target == "/free":
            await reply.end()
            return
        await reply.hung_up()
        loop.call_soon_threadsafe(gone.release)

    server, closing = serve(script), Pool()
    free = await closing.request(Origin.of(server.url), Request("GET", "/free", []))
    assert await whole(free) == b"a"
    used = [await closing.request(Origin.of(server.url), Request("GET", "/used", [])) for _ in range(2)]
    await closing.close()
    for answer in used:
        with pytest.raises(Disconnected):
            await whole(answer)
    for _ in range(2):
        await asyncio.wait_for(gone.acquire(), 60)
