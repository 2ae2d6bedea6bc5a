"""What goes upstream is what clients sent, however they write it: the proxy against a strict reading (strict.py)."""

import http.client
import itertools
import json
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings

from app.door.connection import GuardedConnection
from tests.app.door.connections import connect
from tests.app.door.odd_requests import KEYED, NUMBER, TARGETS, Conversation, conversations
from tests.app.door.strict import End, Reading, Request, read
from tests.app.relay.stage import Stage
from tests.app.relay.test_connections import Shared
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply, ScriptedUpstream, Seen

pytestmark = pytest.mark.heavy

EXAMPLES = 2000
OWN = {"host", "content-length", "transfer-encoding", "api-key", "authorization", "traceparent"}
"""Headers that the proxy sets itself."""
LAST = b"GET %blast HTTP/1.1\r\nhost: a\r\n%b\r\nconnection: close\r\n\r\n" % (TARGETS[0], KEYED)


class Taking:
    """How many bytes the proxy takes from a connection at once."""

    size = 65536
    times = 0


@pytest.fixture(autouse=True, scope="module")
def taking() -> Iterator[None]:
    """Have connections take no more than `Taking.size` bytes at once: writes that follow each other may come as one."""
    taken = GuardedConnection.data_received

    def data_received(self: GuardedConnection, data: bytes) -> None:
        Taking.times += 1
        for at in range(0, len(data), Taking.size):
            if not self.transport.is_closing():
                taken(self, data[at : at + Taking.size])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardedConnection, "data_received", data_received)
        yield


async def name_it(request: Seen, reply: Reply) -> None:
    """Answers with what it was asked for."""
    await reply.json(json.dumps({"target": request.target}).encode())


def talk(stage: Stage, sent: bytes, conversation: Conversation, reading: Reading) -> list[tuple[int, bytes, bool]]:
    """Every response on a connection: its status and body, and whether it closes the connection."""
    Taking.size = conversation.read_size
    answers: list[tuple[int, bytes, bool]] = []
    with connect(stage) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Shared(socket.SocketIO(wire, "r"))
        try:
            ends = [len(sent) * cut // 1000 for cut in conversation.cuts]
            for start, end in itertools.pairwise([0, *ends, len(sent)]):
                wire.sendall(sent[start:end])
        except OSError:  # refused, and closed
            pass
        try:
            if reading.end in (End.INCOMPLETE, End.MALFORMED):
                answers += [_answer(stream) for _ in reading.whole]
                wire.shutdown(socket.SHUT_WR)  # the proxy closes, whatever it was waiting for
            while True:
                answers.append(_answer(stream))
        except TimeoutError:
            raise AssertionError("the proxy neither answers nor closes") from None
        except (http.client.HTTPException, OSError):  # closed
            return answers


def _answer(stream: Shared) -> tuple[int, bytes, bool]:
    response = http.client.HTTPResponse(SimpleNamespace(makefile=lambda mode: stream))  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read(), response.getheader("connection") == "close"


def check_answers(reading: Reading, answers: list[tuple[int, bytes, bool]]) -> None:
    """None but what was asked for is answered, in order, and all of it unless something in it was refused."""
    whole = reading.whole
    one_more = reading.end in (End.INCOMPLETE, End.MALFORMED)
    assert len(answers) <= len(whole) + one_more
    for request, (status, body, _) in zip(whole, answers, strict=False):
        assert status != 200 or json.loads(body)["target"] == path_of(request)
    if len(answers) < len(whole) and not reading.doubtful:
        assert one_more or (answers and answers[-1][2]), "a request has no answer"
    if not (reading.doubtful or one_more):
        assert len(answers) == len(whole)
        assert not any(closes for _, _, closes in answers[:-1])
        assert {status for status, _, _ in answers} <= {200, 400, 401, 404, 405, 426}


def check_upstream(reading: Reading, server: ScriptedUpstream, number: bytes) -> None:
    """Upstream has seen nothing but requests that were made, with a key, each at most once, and unchanged."""
    made = {path_of(request): request for request in reading.requests if may_pass(request)}
    begun = [seen for seen in server.begun if number.decode() in seen.target]
    for seen in begun:
        assert seen.target in made, f"upstream got {seen}, which nobody sent"
        head = made[seen.target]
        assert seen.method == head.method.decode()
        fields = Counter((name.decode(), value.decode("latin-1")) for name, value in head.fields)
        assert not Counter((n.lower(), v) for n, v in seen.headers if n.lower() not in OWN) - fields
    assert not [target for target, times in Counter(seen.target for seen in begun).items() if times > 1]
    for seen in (seen for seen in server.seen if number.decode() in seen.target):
        assert made[seen.target].whole
        assert seen.body == made[seen.target].body


def path_of(request: Request) -> str:
    """The target without a host."""
    return request.target.decode().removeprefix("http://b:1")


def may_pass(request: Request) -> bool:
    return KEY.encode() in request.values(b"api-key")[:1]


def test_upstream_sees_what_clients_sent(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """No request that no client made, none twice, no header that was in no head, no byte of a body changed."""
    server = stage.play(name_it)
    numbers = itertools.count(1)
    readings: dict[bytes, Reading] = {}

    @settings(max_examples=EXAMPLES)
    @given(conversations())
    def talked(conversation: Conversation) -> None:
        number = b"%08x" % next(numbers)
        sent = conversation.sent.replace(NUMBER, number)
        reading = read(sent)
        if reading.end is End.BYTES:
            sent += LAST.replace(NUMBER, number)
            reading = read(sent)
        readings[number] = reading
        answers = talk(stage, sent, conversation, reading)
        check_answers(reading, answers)
        check_upstream(reading, server, number)

    talked()
    assert Taking.times > EXAMPLES, "the proxy's connections are not guarded"
    for number, reading in readings.items():  # again: something may have come late
        check_upstream(reading, server, number)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
