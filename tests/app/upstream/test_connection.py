"""One connection: how it writes requests and reads every form of response."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.upstream import Disconnected, NotHttp
from app.upstream.connection import MAX_HEAD
from app.upstream.received import HIGH_WATER
from tests.app.upstream.conftest import Asking, Signal, whole
from tests.conftest import StartUpstream
from tests.kit.upstream import Reply, Seen

pytestmark = pytest.mark.anyio


async def hello(request: Seen, reply: Reply) -> None:
    await reply.json(b'"hello"')


async def test_a_request_is_sent_unchanged(upstream: StartUpstream, ask: Asking) -> None:
    """Method, target, headers and body are unchanged; only `host` and the body's length are added."""
    server = upstream(hello)
    given = [(b"x-a", "Büro ✨".encode()), (b"x-a", b"\xff"), (b"accept-encoding", b"br")]
    answer = await ask(server.url, "PUT", b"\x00\xff", headers=given)
    assert await whole(answer) == b'"hello"'
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.body) == ("PUT", "/a", b"\x00\xff")
    assert seen.headers == [
        ("host", f"127.0.0.1:{server.port}"),
        *((name.decode(), value.decode("latin-1")) for name, value in given),
        ("content-length", "2"),
    ]


@pytest.mark.parametrize(("method", "expected"), [("POST", "0"), ("GET", None), ("DELETE", None)])
async def test_a_request_without_a_body(
    upstream: StartUpstream, ask: Asking, method: str, expected: str | None
) -> None:
    """content-length is 0 where a body would be expected (RFC 9110 §8.6)."""
    server = upstream(hello)
    await whole(await ask(server.url, method, None))
    assert server.seen[0].header("content-length") == expected


@pytest.mark.parametrize("length", [None, 6])
async def test_a_streamed_body(upstream: StartUpstream, ask: Asking, length: int | None) -> None:
    """It is sent in chunks, or unframed if its length is known; the connection is reused."""
    server = upstream(hello)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"cd", b"ef"):
            yield piece

    for _ in range(2):
        assert await whole(await ask(server.url, body=pieces(), length=length)) == b'"hello"'
    assert [seen.body for seen in server.seen] == [b"abcdef"] * 2
    assert server.seen[0].header("transfer-encoding") == ("chunked" if length is None else None)


async def test_a_failing_body_ends_the_request(upstream: StartUpstream, ask: Asking) -> None:
    """The connection closes, and the exception has the cause."""

    async def never(request: Seen, reply: Reply) -> None:
        raise AssertionError("the request was never complete")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        raise KeyError("planted")

    with pytest.raises(Disconnected) as broken:
        await ask(upstream(never).url, body=pieces())
    assert isinstance(broken.value.__cause__, KeyError)


async def test_a_response_before_the_end_of_the_request(upstream: StartUpstream, ask: Asking) -> None:
    """It is read immediately; the rest of the request is not sent, and the connection is closed."""
    going = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")
        assert await reader.read() == b"2\r\nab\r\n"
        writer.close()
        going.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        await asyncio.Event().wait()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    answer = await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", body=pieces())
    assert (answer.status, await whole(answer)) == (413, b"no")
    await asyncio.wait_for(going.wait(), 60)
    server.close()


async def test_a_line_end_in_a_header_is_not_sent(upstream: StartUpstream, ask: Asking) -> None:
    """No header can become two, even if it was not validated before."""
    server = upstream(hello)
    for value in (b"a\r\nx-b: c", b"a\nb", b"a\rb", b"a\0b"):
        with pytest.raises(ValueError, match="line end"):
            await ask(server.url, headers=[(b"x-a", value)])
    assert server.seen == []


ENDINGS = {
    "length": b"content-length: 5\r\n\r\nhello",
    "chunks": b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n",
    "until closed": b"\r\nhello",
    "closed, identity": b"transfer-encoding: identity\r\n\r\nhello",
    "closed, Identity of HTTP/1.0": b"connection: close\r\nTransfer-Encoding: Identity\r\n\r\nhello",
    "chunked last": b"transfer-encoding: identity, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "closed after a length": b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n"])
async def test_every_framing_of_a_body(upstream: StartUpstream, ask: Asking, ending: str, before: bytes) -> None:
    """The body is complete, header names are in lower case and in order, interim responses are skipped."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(before + b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-B:  2 \r\nX-A: 3\r\n" + ENDINGS[ending])
        if "closed" in ending:
            reply.writer.close()

    server = upstream(script)
    for _ in range(2):
        answer = await ask(server.url)
        assert (answer.status, await whole(answer)) == (200, b"hello")
        assert list(answer.headers[:3]) == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]
        assert answer.header(b"x-a") == "1"


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ],
)
async def test_responses_without_a_body(upstream: StartUpstream, ask: Asking, method: str, head: bytes) -> None:
    """They have none, whatever their content-length."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(head)

    server = upstream(script)
    for _ in range(2):
        assert await whole(await ask(server.url, method, None)) == b""


async def test_a_truncated_body(upstream: StartUpstream, ask: Asking) -> None:
    """What arrived can be read, then Disconnected is raised."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel")
        reply.writer.close()

    answer = await ask(upstream(script).url)
    assert await answer.readany() == b"hel"
    with pytest.raises(Disconnected):
        await answer.readany()


async def test_the_head_is_limited(upstream: StartUpstream, ask: Asking) -> None:
    """Whether it is too long in one header or in many."""
    for line in (b"x-a: " + b"a" * MAX_HEAD * 2, b"x-a: b\r\n" * (MAX_HEAD // 4)):

        async def script(request: Seen, reply: Reply, line: bytes = line) -> None:
            await reply.raw(b"HTTP/1.1 200 OK\r\n" + line)
            await reply.hung_up()

        with pytest.raises(NotHttp):
            await ask(upstream(script).url)


async def test_a_slow_reader_pauses_upstream(upstream: StartUpstream, ask: Asking) -> None:
    """No more than the high-water mark and the socket buffers hold piles up; nothing is lost."""
    size, written = 64 * 1024 * 1024, 0

    async def script(request: Seen, reply: Reply) -> None:
        nonlocal written
        await reply.head(200, {"content-length": str(size)})
        while written < size:
            await reply.raw(bytes(1 << 20))
            written += 1 << 20

    answer = await ask(upstream(script).url)
    first = await answer.readany()
    before = -1
    while before != written:  # until upstream stalls
        before = written
        await asyncio.sleep(0.2)
    assert written < size / 2
    assert len(more := await answer.readany()) < HIGH_WATER + (1 << 20)
    rest = 0
    while piece := await answer.readany():
        rest += len(piece)
    assert len(first) + len(more) + rest == size


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"])
async def test_cancellation_closes_the_connection(upstream: StartUpstream, ask: Asking, head: bytes) -> None:
    """Before the head as within the body; the pool keeps nothing of it."""
    begun, closed = Signal(), Signal()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(head)
        begun.give()
        await reply.hung_up()
        closed.give()

    async def call(url: str) -> bytes:
        answer = await ask(url)
        try:
            return await whole(answer)
        finally:
            answer.close()

    calling = asyncio.create_task(call(upstream(script).url))
    await begun.wait()
    calling.cancel()
    await closed.wait()
    (ended,) = await asyncio.gather(calling, return_exceptions=True)
    assert ended != b"hello"
    assert calling.cancelled()
    assert ask.pool.open == 0
