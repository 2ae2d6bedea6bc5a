"""Records too large for the hub: in Blob Storage, by a real Azurite, and referred to; or shortened where it fails."""

import asyncio
import base64
import hashlib
import json
from dataclasses import replace

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

from exporters.blob import BlobAddress
from tests.exporters.conftest import StartLine
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, HubInReach, number_of, record_line
from tests.kit.azurite import ACCOUNT, KEY, names

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(600)]  # the first test may have to install Azurite

LINK = 16_384


def content_of(container: ContainerClient, url: str) -> bytes:
    name = url.partition(f"/{container.container_name}/")[2]
    return container.download_blob(name).readall()


@pytest.mark.heavy
def test_a_record_too_large_for_the_hub_is_referred_to(
    own_hub: HubInReach, line: StartLine, address: BlobAddress, container: ContainerClient
) -> None:
    """The container has the whole record, byte for byte; the event is a valid record that says where, in its place."""
    own_hub.broker.set_faults(max_message_size=LINK)
    running = line(started=False, open_blobs=address.connect)
    running.append(1)
    large = record_line(1, "✨" * 30_000)
    assert running.spool.append(large)
    running.appended += 1
    running.append(1)
    running.sender.start()
    running.wait_sent()
    records = own_hub.records()
    assert [number_of(record) for record in records] == [0, 1, 2]
    assert content_of(container, records[1]["content_ref"]) == large
    assert records[1]["content_bytes"] == len(large)
    assert records[1]["id"] in records[1]["content_ref"]
    assert not any("content_ref" in record for record in (records[0], records[2]))
    assert running.losses.by_reason() == {}


def with_image(size: int, content: str = "") -> tuple[bytes, str]:
    """A record whose prompt shows an image of that many bytes, and the image's digest."""
    image = b"\x89PNG" * (size // 4)
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    parts = [{"type": "text", "text": "0"}, {"type": "image_url", "image_url": {"url": url}}]
    return record_line(0, content, prompt=[{"role": "user", "content": parts}]), hashlib.sha256(image).hexdigest()


@pytest.mark.heavy
def test_an_image_alone_needs_no_blob(
    own_hub: HubInReach, line: StartLine, address: BlobAddress, container: ContainerClient
) -> None:
    """Where it is enough to have an image's digest in its place, nothing is stored, and nothing else is changed."""
    own_hub.broker.set_faults(max_message_size=LINK)
    running = line(started=False, open_blobs=address.connect)
    record, digest = with_image(50_000, content="." * 5000)
    assert running.spool.append(record)
    running.sender.start()
    running.wait_sent()
    (sent,) = own_hub.records()
    expected = json.loads(record)
    expected["prompt"][0]["content"][1]["image_url"]["url"] = {
        "media_type": "image/png",
        "bytes": 50_000,
        "sha256": digest,
    }
    assert sent == expected
    running.close()
    assert not container.exists() or names(container) == []


@pytest.mark.heavy
def test_a_reference_shows_no_signature(
    own_hub: HubInReach,
    line: StartLine,
    address: BlobAddress,
    container: ContainerClient,
) -> None:
    """An identity that may write and not make containers is enough, and its signature is in no record."""
    container.create_container()
    signature = generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(object=True), AccountSasPermissions(write=True, create=True), "2099-01-01"
    )
    endpoint = str(container.url).rpartition("/")[0]
    signed = BlobAddress(address.container_url, f"BlobEndpoint={endpoint};SharedAccessSignature={signature}")
    own_hub.broker.set_faults(max_message_size=LINK)
    running = line(started=False, open_blobs=signed.connect)
    running.append(1, content="." * 50_000)
    running.sender.start()
    running.wait_sent()
    (record,) = own_hub.records()
    assert len(content_of(container, record["content_ref"])) > 50_000
    assert "sig" not in record["content_ref"]


@pytest.mark.parametrize("away", ["refuses connections", "does not answer", "has a key that is none"])
def test_without_blob_storage_a_record_is_shortened(
    own_hub: HubInReach, line: StartLine, silent: BlobAddress, unreachable: BlobAddress, away: str
) -> None:
    """Whatever keeps Blob Storage from taking large records, they arrive shortened, and hold nothing else up."""
    where = {
        "refuses connections": unreachable,
        "does not answer": silent,
        "has a key that is none": BlobAddress(conn_str="AccountName=x;AccountKey=x;BlobEndpoint=http://127.0.0.1:1/x"),
    }
    own_hub.broker.set_faults(max_message_size=LINK)
    running = line(replace(FAST, store=0.5), started=False, open_blobs=where[away].connect)
    for _ in range(2):
        running.append(1, content="." * 50_000)
        running.append(1)
    running.sender.start()
    running.wait_sent()
    records = own_hub.records()
    assert [number_of(record) for record in records] == [0, 1, 2, 3]
    assert [record.get("truncated") for record in records] == [True, None, True, None]
    assert all(record["content_bytes"] > 50_000 for record in (records[0], records[2]))
    assert not any("content_ref" in record for record in records)
    assert running.losses.by_reason() == {}


def test_a_container_that_hangs_keeps_no_record_from_the_hub(
    own_hub: HubInReach, line: StartLine, silent: BlobAddress
) -> None:
    """The look for parked segments, at the start and later, goes on beside the sending."""
    running = line(open_blobs=silent.connect)
    for _ in range(3):
        running.append(5)
        running.wait_sent()
    assert own_hub.numbers() == list(range(15))


@pytest.mark.heavy
def test_the_container_is_made_once_and_may_be_there(address: BlobAddress, container: ContainerClient) -> None:
    """The container is made at first use; one that is there already is used."""

    async def use() -> list[str]:
        store = address.connect()
        try:
            return [await store.put_record(f"{number:032x}", b"{}") for number in range(2)]
        finally:
            await store.close()

    asyncio.run(use())
    with pytest.raises(ResourceExistsError):
        container.create_container()
    asyncio.run(use())
    assert len(names(container)) == 2


@pytest.mark.heavy
def test_a_store_that_refuses_says_so(address: BlobAddress) -> None:
    """A wrong key is an AzureError, for whoever asked to deal with."""
    wrong = BlobAddress(address.container_url, str(address.conn_str).replace(KEY, base64.b64encode(b"x").decode()))

    async def use() -> None:
        store = wrong.connect()
        try:
            await store.parked()
        finally:
            await store.close()

    with pytest.raises(AzureError) as refusal:
        asyncio.run(use())
    assert isinstance(refusal.value, HttpResponseError)
