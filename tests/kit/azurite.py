"""Azurite, Microsoft's Blob Storage emulator, for tests that need the real thing.

It needs Node. Without it the tests are skipped; with CI=true they fail.
"""

import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from exporters.blob import BlobAddress
from tests.kit import npm
from tests.kit.ports import held_port

ROOT = Path(__file__).parents[2]
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Not a secret: Azurite documents it."""


class Azurite:
    """A running Azurite that keeps everything in memory."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--blobPort", "0"],
            cwd=program.parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = self._process.stdout
        found = next(filter(None, (re.search(r"listens on (http://\S+)", line) for line in output)), None)
        assert found, "Azurite did not start"
        self._url = f"{found[1]}/{ACCOUNT}"

    @property
    def conn_str(self) -> str:
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self._url};"

    def container(self) -> BlobAddress:
        """The address of a container that does not exist yet."""
        return BlobAddress(f"{self._url}/records-{uuid.uuid4().hex}", self.conn_str)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A running Azurite; skips if it cannot start, and fails in CI."""
    with npm.needed_for("Azurite"):
        running = Azurite(npm.installed(ROOT / "tests/azurite") / "node_modules/.bin/azurite-blob")
    yield running
    running.close()


@pytest.fixture
def address(azurite: Azurite) -> BlobAddress:
    """The address of a container that does not exist yet."""
    return azurite.container()


@pytest.fixture
def container(address: BlobAddress) -> Iterator[ContainerClient]:
    """Azure's own client for the same container."""
    assert address.container_url
    assert address.conn_str
    with ContainerClient.from_connection_string(address.conn_str, address.container_url.rpartition("/")[2]) as client:
        yield client


def names(container: ContainerClient) -> list[str]:
    """The names of the blobs in a container."""
    return sorted(container.list_blob_names())


@pytest.fixture
def unreachable() -> Iterator[BlobAddress]:
    """A container on a port on which nothing listens."""
    with held_port() as port:
        yield _at(port)


@pytest.fixture
def silent() -> Iterator[BlobAddress]:
    """A container on a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield _at(server.getsockname()[1])


def _at(port: int) -> BlobAddress:
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return BlobAddress(f"{url}/records", f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}")
