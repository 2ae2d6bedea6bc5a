"""The events that `exporters.batch` writes itself are those that Event Hubs' client would have made."""

import pytest
from azure.eventhub import EventData, EventDataBatch
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from exporters.batch import add

HEAD = b'{"type":"%b","schema_version":%d,"id":"c0ffee"'


def by_the_client(batch: EventDataBatch, line: bytes, kind: str, version: int) -> None:
    event = EventData(line)
    event.content_type = "application/json"
    event.properties = {"type": kind, "schema_version": version}
    batch.add(event)


def by_us(batch: EventDataBatch) -> list[bytes]:
    return [b"".join(event) for event in batch._message.data]


def theirs_encoded(batch: EventDataBatch) -> list[bytes]:
    """Each event as a section of the message, as which ours are made at once."""
    return [bytes(encode_payload(bytearray(), Message(data=[event]))) for event in batch._message.data]


@given(
    st.lists(st.integers(0, 600) | st.sampled_from([70_000]), min_size=1, max_size=5),
    st.sampled_from(["completion", "stream_completion"]),
    st.sampled_from([1, 2, 300]),
)
@example(list(range(100, 260)), "completion", 1)  # about 256 bytes, of a body or of the event, lengths are written anew
def test_an_event_is_the_clients_byte_for_byte(sizes: list[int], kind: str, version: int) -> None:
    ours, theirs = EventDataBatch(), EventDataBatch()
    for size in sizes:
        line = HEAD % (kind.encode(), version) + b"x" * size + b"}"
        assert add(ours, line)
        by_the_client(theirs, line, kind, version)
        assert by_us(ours) == theirs_encoded(theirs)
        assert ours.size_in_bytes == theirs.size_in_bytes
        assert len(ours) == len(theirs)


@pytest.mark.parametrize("size", [100, 1000])
def test_a_batch_is_full_when_the_clients_is(size: int) -> None:
    """To the byte."""
    line = HEAD % (b"completion", 1) + b"x" * size + b"}"
    probe = EventDataBatch()
    add(probe, line)
    empty, one = EventDataBatch().size_in_bytes, probe.size_in_bytes
    exactly = empty + 2 * (one - empty)
    for room, fits in ((exactly, True), (exactly - 1, False)):
        ours, theirs = EventDataBatch(room), EventDataBatch(room)
        assert add(ours, line)
        by_the_client(theirs, line, "completion", 1)
        assert add(ours, line) is fits
        if fits:
            by_the_client(theirs, line, "completion", 1)
        else:
            with pytest.raises(ValueError, match="size limit"):
                by_the_client(theirs, line, "completion", 1)
        assert by_us(ours) == theirs_encoded(theirs)


def test_what_is_no_record_is_no_event() -> None:
    batch = EventDataBatch()
    with pytest.raises(ValueError, match="not a record"):
        add(batch, b'{"id":"c0ffee"}')
    assert len(batch) == 0
