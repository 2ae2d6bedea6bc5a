"""Records too large for the hub: stored in Blob Storage (a real Azurite) and referred to, or shortened if it fails."""

import asyncio
import base64
import hashlib
import json
from dataclasses import replace

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

from exporters.blob import BlobAddress
from tests.exporters.conftest import StartPipeline
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, RestartableHub, number_of, record_line
from tests.kit.azurite import ACCOUNT, KEY, names

pytestmark = [CLIENT_LEAVES_SOCKETS, pytest.mark.timeout(600)]  # the first test may have to install Azurite

LINK = 16_384


def content_of(container: ContainerClient, url: str) -> bytes:
    name = url.partition(f"/{container.container_name}/")[2]
    return container.download_blob(name).readall()


@pytest.mark.heavy
def test_a_record_too_large_for_the_hub_is_stored_and_referred_to(
    own_hub: RestartableHub, pipeline: StartPipeline, address: BlobAddress, container: ContainerClient
) -> None:
    """The container has the whole record, byte for byte; the event, in its place, is a valid record that refers to
    it."""
    own_hub.broker.set_faults(max_message_size=LINK)
    running = pipeline(started=False, open_blobs=address.connect)
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
    """A record whose prompt has an image of that many bytes, and the image's digest."""
    image = b"\x89PNG" * (size // 4)
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    parts = [{"type": "text", "text": "0"}, {"type": "image_url", "image_url": {"url": url}}]
    return record_line(0, content, prompt=[{"role": "user", "content": parts}]), hashlib.sha256(image).hexdigest()


@pytest.mark.heavy
def test_a_record_that_fits_without_images_needs_no_blob(
    own_hub: RestartableHub, pipeline: StartPipeline, address: BlobAddress, container: ContainerClient
) -> None:
    """If replacing an image by its digest is enough, nothing is stored, and nothing else is changed."""
    own_hub.broker.set_faults(max_message_size=LINK)
    running = pipeline(started=False, open_blobs=address.connect)
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
def test_a_reference_contains_no_signature(
    own_hub: RestartableHub,
    pipeline: StartPipeline,
    address: BlobAddress,
    container: ContainerClient,
) -> None:
    """A signature that may write but not create containers is enough, and it is not in the record."""
    container.create_container()
    signature = generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(object=True), AccountSasPermissions(write=True, create=True), "2099-01-01"
    )
    endpoint = str(container.url).rpartition("/")[0]
    signed = BlobAddress(address.container_url, f"BlobEndpoint={endpoint};SharedAccessSignature={signature}")
    own_hub.broker.set_faults(max_message_size=LINK)
    running = pipeline(started=False, open_blobs=signed.connect)
    running.append(1, content="." * 50_000)
    running.sender.start()
    running.wait_sent()
    (record,) = own_hub.records()
    assert len(content_of(container, record["content_ref"])) > 50_000
    assert "sig" not in record["content_ref"]


@pytest.mark.parametrize("fault", ["refuses connections", "does not respond", "has an invalid key"])
def test_without_blob_storage_a_record_is_shortened(
    own_hub: RestartableHub, pipeline: StartPipeline, silent: BlobAddress, unreachable: BlobAddress, fault: str
) -> None:
    """If Blob Storage fails in any way, large records arrive shortened, in order, and delay no others."""
    where = {
        "refuses connections": unreachable,
        "does not respond": silent,
        "has an invalid key": BlobAddress(conn_str="AccountName=x;AccountKey=x;BlobEndpoint=http://127.0.0.1:1/x"),
    }
    own_hub.broker.set_faults(max_message_size=LINK)
    running = pipeline(replace(FAST, store=0.5), started=False, open_blobs=where[fault].connect)
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


def test_a_container_that_hangs_delays_no_record(
    own_hub: RestartableHub, pipeline: StartPipeline, silent: BlobAddress
) -> None:
    """The search for parked segments, at the start and later, runs beside the sending."""
    running = pipeline(open_blobs=silent.connect)
    for _ in range(3):
        running.append(5)
        running.wait_sent()
    assert own_hub.numbers() == list(range(15))


@pytest.mark.heavy
def test_the_container_is_created_once_and_may_exist(address: BlobAddress, container: ContainerClient) -> None:
    """The container is created at first use; an existing one is used."""

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
def test_a_wrong_key_raises_azure_error(address: BlobAddress) -> None:
    """The caller handles it."""
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
