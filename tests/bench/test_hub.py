"""The benchmark's check of records: one per call, each with the request and response of that call."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubProducerClient

from bench.hub import Hub, WrongRecords
from bench.workloads import Workload
from dev.event_hubs.process import BrokerProcess

STREAM = Workload("streams", "", "stream-4-0", 1, 10)
RIGHT = {
    "id": "a",
    "status": "completed",
    "http_status": 200,
    "deployment": "stream-4-0",
    "region": "Sweden Central",
    "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "0123456789"}],
    "content": "@0000000000000001@0000000000000002",
    "usage": {"prompt_tokens": 200, "completion_tokens": 2, "total_tokens": 202},
    "finish_reasons": ["stop"],
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Hub, Callable[..., None]]]:
    """The benchmark's hub on a real broker, and a function that puts records there."""
    with BrokerProcess(tmp_path) as broker:
        producer = EventHubProducerClient.from_connection_string(broker.connection_string)

        def put(*records: dict[str, Any]) -> None:
            producer.send_batch([EventData(json.dumps(record)) for record in records])

        with producer:
            yield Hub(broker.control_port), put


def test_right_records_are_counted_once(hub: tuple[Hub, Callable[..., None]]) -> None:
    """Records of two calls pass, one of them a duplicate; the next check starts after them."""
    seen, put = hub
    put(RIGHT, RIGHT | {"id": "b"}, RIGHT)
    seen.check_new(STREAM, 2)
    put(RIGHT | {"id": "c"})
    seen.check_new(STREAM, 1)
    assert seen.count() == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "interrupted"},
        {"content": "@0000000000000002@0000000000000001"},
        {"content": "@0000000000000001"},
        {"prompt": [{"content": ""}, {"content": "012345678"}]},
        {"usage": {"total_tokens": 201}},
        {"deployment": "stream-5-0"},
        {"finish_reasons": []},
    ],
)
def test_a_wrong_record_ends_the_run(hub: tuple[Hub, Callable[..., None]], wrong: dict[str, Any]) -> None:
    """A record that differs from its call in any field ends the run."""
    seen, put = hub
    put(RIGHT | wrong)
    with pytest.raises(WrongRecords):
        seen.check_new(STREAM, 1)


def test_a_missing_record_ends_the_run(hub: tuple[Hub, Callable[..., None]]) -> None:
    """One record for two calls is not enough."""
    seen, put = hub
    put(RIGHT)
    with pytest.raises(WrongRecords, match="1 records of 2 calls"):
        seen.check_new(STREAM, 2)
