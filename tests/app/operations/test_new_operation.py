"""An operation is added by one file and one line of its family's table; docs/decisions/0013 shows how."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import ProxyError
from app.operations import FAMILIES, Families, Family, Operation, Target
from app.operations.openai import OPENAI
from app.operations.operation import Json
from app.operations.wire import as_list, as_object, as_text, json_of
from otel.call import Answer, Choice, Request
from tests.conftest import environ
from tests.kit.hub import Broker, HubReader
from tests.kit.proxy import KEY, ProxyThread
from tests.kit.wire import client


class Toxicity(Operation):
    """What the file of a new operation holds: its name, and what its bodies say."""

    name = "toxicity"

    def read_request(self, body: Json) -> Request:
        return Request(model=as_text(body.get("model")), prompt=json_of(body, "input"))

    def read_answer(self, body: Json, answer: Answer) -> None:
        flagged = [str(as_object(result).get("flagged")) for result in as_list(body.get("results"))]
        answer.model = as_text(body.get("model"))
        answer.choices = [Choice(content=" ".join(flagged))]


def told(error: ProxyError) -> bytes:
    return json.dumps({"oops": error.code}).encode()


# the line of the table, and a family of its own, as a file of app/operations would have it
WITH_TOXICITY = replace(OPENAI, operations={**OPENAI.operations, "toxicity": Toxicity()})
ECHO = Family(
    name="echo",
    prefix="/echo/",
    operations={"toxicity": Toxicity()},
    target=lambda path: Target(path.removeprefix("/echo/"), takes_api_version=False),
    error_body=told,
    sessions=frozenset(),
    key_headers=(b"x-echo-key",),
)


@pytest.fixture
def extended(upstream: Any, broker: Broker, tmp_path: Path) -> Iterator[ProxyThread]:
    """A proxy with one more operation and one more family, in front of an upstream that answers both."""
    body = b'{"id":"modr-1","model":"omni","results":[{"flagged":false},{"flagged":true}]}'
    server = upstream(lambda request, reply: reply.json(body))
    settings = environ(server.url, broker.conn_str, tmp_path / "spool", AZURE_OPENAI_API_VERSION="2024-10-21")
    running = ProxyThread(settings, Families((WITH_TOXICITY, ECHO)))
    yield running
    running.close()
    assert not any(seen.header("x-echo-key") for seen in server.seen), "a client's key went upstream"


def test_an_added_operation_is_recorded_by_its_name(extended: ProxyThread, hub: HubReader) -> None:
    """Its line in the table is all it takes for a call to be read and recorded as that operation."""
    with client(extended.url) as caller:
        answer = caller.send("POST", "/openai/v1/toxicity", json.dumps({"input": ["a", "b"], "model": "omni"}))
        assert answer.status == 200
        answer.read()
    record = hub.record(answer.trace_id)
    assert (record["operation"], record["prompt"], record["content"]) == ("toxicity", ["a", "b"], "False True")


def test_an_added_family_brings_its_own_ways(extended: ProxyThread, hub: HubReader) -> None:
    """Its paths are calls, with its key header, its shape of errors, its route, and no api-version if it has none."""
    with client(extended.url) as caller:
        refused = caller.send("POST", "/echo/toxicity", b"{}", api_key="none", x_echo_key="wrong")
        assert (refused.status, json.loads(refused.read())) == (401, {"oops": "invalid_api_key"})
        answer = caller.send("POST", "/echo/toxicity", b'{"input":"a"}', api_key="none", x_echo_key=KEY)
        assert answer.status == 200
        answer.read()
    assert hub.record(answer.trace_id)["operation"] == "toxicity"
    assert "api_version" not in hub.record(answer.trace_id)
    names = {span.name for span in extended.spans.of_trace(answer.trace_id, 2)}
    assert names == {"POST /echo/{path:path}", "toxicity"}


def test_without_its_line_the_path_is_a_plain_call() -> None:
    """The table alone decides: the families that ship know no toxicity."""
    family = FAMILIES.of("/openai/v1/toxicity")
    assert family is OPENAI
    assert OPENAI.operation(OPENAI.target("/openai/v1/toxicity")).name == "call"
