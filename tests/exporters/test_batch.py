"""The events that `exporters.batch` writes equal those that Event Hubs' client writes."""

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
    """Each event encoded as a section of the message, as ours already are."""
    return [bytes(encode_payload(bytearray(), Message(data=[event]))) for event in batch._message.data]


@given(
    st.lists(st.integers(0, 600) | st.sampled_from([70_000]), min_size=1, max_size=5),
    st.sampled_from(["completion", "stream_completion"]),
    st.sampled_from([1, 2, 300]),
)
@example(list(range(100, 260)), "completion", 1)  # at 256 bytes of a body or an event its length is encoded differently
def test_events_equal_the_clients(sizes: list[int], kind: str, version: int) -> None:
    """Byte for byte, and so do the batch's size and count."""
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
    """It accepts and refuses events at the same byte."""
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


def test_a_line_that_is_not_a_record_is_refused() -> None:
    """It raises ValueError and adds nothing."""
    batch = EventDataBatch()
    with pytest.raises(ValueError, match="not a record"):
        add(batch, b'{"id":"c0ffee"}')
    assert len(batch) == 0
