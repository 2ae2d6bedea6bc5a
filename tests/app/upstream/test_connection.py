"""One connection: how requests are written, and how answers of every form are read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.upstream import Disconnected, NotHttp
from app.upstream.connection import MAX_HEAD
from app.upstream.received import HIGH_WATER
from tests.app.upstream.conftest import Asking, Serve, whole
from tests.kit.upstream import Reply, Seen

pytestmark = pytest.mark.anyio


async def hello(request: Seen, reply: Reply) -> None:
    await reply.json(b'"hello"')


async def test_a_request_goes_out_as_it_is(serve: Serve, ask: Asking) -> None:
    """Method, target, headers and body are those given; `host` and the length of the body are all that is added."""
    server = serve(hello)
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
async def test_a_request_without_a_body(serve: Serve, ask: Asking, method: str, expected: str | None) -> None:
    """A length of 0 is told where a body would be expected (RFC 9110 §8.6)."""
    server = serve(hello)
    await whole(await ask(server.url, method, None))
    assert server.seen[0].header("content-length") == expected


@pytest.mark.parametrize("length", [None, 6])
async def test_a_body_that_is_a_stream(serve: Serve, ask: Asking, length: int | None) -> None:
    """It goes out in chunks, or as it is where its length is known; the connection is kept."""
    server = serve(hello)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"cd", b"ef"):
            yield piece

    for _ in range(2):
        assert await whole(await ask(server.url, body=pieces(), length=length)) == b'"hello"'
    assert [seen.body for seen in server.seen] == [b"abcdef"] * 2
    assert server.seen[0].header("transfer-encoding") == ("chunked" if length is None else None)


async def test_a_stream_that_fails_ends_the_request(serve: Serve, ask: Asking) -> None:
    """The connection breaks, and the cause can be told."""

    async def never(request: Seen, reply: Reply) -> None:
        raise AssertionError("the request was never whole")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        raise KeyError("planted")

    with pytest.raises(Disconnected) as broken:
        await ask(serve(never).url, body=pieces())
    assert isinstance(broken.value.__cause__, KeyError)


async def test_an_answer_before_the_request_is_whole(serve: Serve, ask: Asking) -> None:
    """It is read at once; what is left of the request is not sent, and the connection not kept."""
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


async def test_a_line_end_in_a_header_goes_nowhere(serve: Serve, ask: Asking) -> None:
    """No header can become two, whoever let it in."""
    server = serve(hello)
    for value in (b"a\r\nx-b: c", b"a\nb", b"a\rb", b"a\0b"):
        with pytest.raises(ValueError, match="line's end"):
            await ask(server.url, headers=[(b"x-a", value)])
    assert server.seen == []


ENDINGS = {
    "length": b"content-length: 5\r\n\r\nhello",
    "chunks": b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n",
    "until closed": b"\r\nhello",
    "closed after a length": b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n"])
async def test_every_way_a_body_ends(serve: Serve, ask: Asking, ending: str, before: bytes) -> None:
    """The body is whole whatever tells its end; names are in lower case, in order; what went before is no answer."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(before + b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-B:  2 \r\nX-A: 3\r\n" + ENDINGS[ending])
        if "closed" in ending:
            reply.writer.close()

    server = serve(script)
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
async def test_answers_that_have_no_body(serve: Serve, ask: Asking, method: str, head: bytes) -> None:
    """Whatever length they tell, there is none to wait for."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(head)

    server = serve(script)
    for _ in range(2):
        assert await whole(await ask(server.url, method, None)) == b""


async def test_a_body_that_breaks_off(serve: Serve, ask: Asking) -> None:
    """What came is there, and then the break."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel")
        reply.writer.close()

    answer = await ask(serve(script).url)
    assert await answer.readany() == b"hel"
    with pytest.raises(Disconnected):
        await answer.readany()


async def test_a_head_without_end(serve: Serve, ask: Asking) -> None:
    """It is given up at its limit, in one header or in many."""
    for line in (b"x-a: " + b"a" * MAX_HEAD * 2, b"x-a: b\r\n" * (MAX_HEAD // 4)):

        async def script(request: Seen, reply: Reply, line: bytes = line) -> None:
            await reply.raw(b"HTTP/1.1 200 OK\r\n" + line)
            await reply.hung_up()

        with pytest.raises(NotHttp):
            await ask(serve(script).url)


async def test_upstream_waits_for_a_reader_that_is_slow(serve: Serve, ask: Asking) -> None:
    """No more than the high water and what is on its way piles up; nothing is lost by it."""
    size, written = 64 * 1024 * 1024, 0

    async def script(request: Seen, reply: Reply) -> None:
        nonlocal written
        await reply.head(200, {"content-length": str(size)})
        while written < size:
            await reply.raw(bytes(1 << 20))
            written += 1 << 20

    answer = await ask(serve(script).url)
    first = await answer.readany()
    before = -1
    while before != written:  # until upstream stands still
        before = written
        await asyncio.sleep(0.2)
    assert written < size / 2
    assert len(more := await answer.readany()) < HIGH_WATER + (1 << 20)
    assert len(first) + len(more) + len(await whole(answer)) == size


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"])
async def test_who_is_cancelled_leaves_no_connection(serve: Serve, ask: Asking, head: bytes) -> None:
    """Upstream sees the connection close, before the head as within the body; nothing of it is kept."""
    begun, closed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(request: Seen, reply: Reply) -> None:
        await reply.raw(head)
        loop.call_soon_threadsafe(begun.set)
        await reply.hung_up()
        loop.call_soon_threadsafe(closed.set)

    async def call(url: str) -> bytes:
        answer = await ask(url)
        try:
            return await whole(answer)
        finally:
            answer.close()

    calling = asyncio.create_task(call(serve(script).url))
    await asyncio.wait_for(begun.wait(), 60)
    calling.cancel()
    assert await asyncio.wait_for(closed.wait(), 60)
    (ended,) = await asyncio.gather(calling, return_exceptions=True)
    assert ended != b"hello"
    assert calling.cancelled()
    assert ask.pool.open == 0
