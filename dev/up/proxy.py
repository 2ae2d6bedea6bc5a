"""The proxy that `dev.up` runs, and stand-ins for the services that the environment does not name."""

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.up.children import Children

type Announce = Callable[[str, str, str], None]
"""Called for each part with its name, its address and what it is."""

_HOST: Final = "127.0.0.1"
_HUB: Final = "records"
_DEPLOYMENT: Final = "gpt-4o"
_API_VERSION: Final = "2024-10-21"
_TOKEN_MS: Final = 40  # slow enough to watch
_READY_S: Final = 30.0
_POLL_S: Final = 0.02


class CannotStart(Exception):
    """The proxy cannot start; the message says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and how to call it."""

    port: int
    key: str
    deployment: str
    settings: Mapping[str, str]
    spans: Path
    """The file it writes its spans to."""
    hub_is_stand_in: bool

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def api_version(self) -> str:
        return self.settings.get("AZURE_OPENAI_API_VERSION") or _API_VERSION

    def curl(self, prompt: str) -> str:
        """A shell command that makes a streamed call and shows the response headers, x-trace-id among them."""
        path = f"/openai/deployments/{self.deployment}/chat/completions?api-version={self.api_version}"
        messages = [{"role": "user", "content": prompt}]
        return (
            f"curl '{self.url}{path}' \\\n"
            f"  -iN -H 'api-key: {self.key}' -H 'content-type: application/json' \\\n"
            """  -d '{"stream": true, "stream_options": {"include_usage": true},\n"""
            f"""       "messages": {json.dumps(messages)}}}'"""
        )

    async def ready(self) -> None:
        """Wait until the proxy is ready. Raises CannotStart after a timeout."""
        try:
            async with asyncio.timeout(_READY_S):
                while True:
                    if await self._is_ready():
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise CannotStart(f"The proxy was not ready after {_READY_S:.0f} s.") from None

    async def _is_ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(_HOST, self.port)
            writer.write(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
        except OSError:
            return False
        return b" 200 " in status


async def start_proxy(
    children: Children,
    directory: Path,
    environ: Mapping[str, str],
    port: int,
    deployment: str | None,
    announce: Announce,
) -> Proxy:
    """Start the stand-ins, and then a proxy that uses them; the proxy may not be ready on return.

    `environ` holds the user's settings of the proxy; port 0 is any free port. Raises CannotStart.
    """
    port = free_port(port)
    real_upstream = environ.get("AZURE_OPENAI_BASE_URL") or environ.get("AZURE_OPENAI_BACKENDS")
    real_hub = environ.get("AZURE_EVENTHUB_CONN_STR") or environ.get("AZURE_EVENTHUB_NAMESPACE")
    if real_upstream and not deployment:
        raise CannotStart(
            "AZURE_OPENAI_* names a real service: set AZURE_OPENAI_DEPLOYMENT or --deployment to say what to call."
        )
    key, spans = _new_key("local"), directory / "spans"
    settings = {
        "PROXY_SHUTDOWN_SECONDS": "2",
        **environ,
        "PROXY_CLIENT_KEYS": key,
        "DEV_SPANS_FILE": str(spans),
    }
    upstream_key = _new_key("upstream")
    simulator = broker = None
    if not real_upstream:
        pace = ("--token-ms", str(_TOKEN_MS))
        simulator = await children.stand_in("simulator", "dev.azure_openai", "--key", upstream_key, *pace)
    if not real_hub:
        # one partition, so that records arrive in order
        hub = ("--hub", _HUB, "--partitions", "1", "--dir", str(directory / "hub"))
        broker = await children.stand_in("broker", "dev.event_hubs", *hub)
    if simulator is None:
        announce("upstream", "named by AZURE_OPENAI_*", "the real Azure OpenAI")
    else:
        base_url = (await simulator.ready_message())["base_url"]
        announce("simulator", base_url, "in place of Azure OpenAI")
        settings |= {"AZURE_OPENAI_BASE_URL": base_url, "AZURE_OPENAI_KEY": upstream_key}
    if broker is None:
        announce("hub", "named by AZURE_EVENTHUB_*", "the real Event Hubs")
    else:
        ready = await broker.ready_message()
        announce("broker", f"amqp://localhost:{ready['port']}", "in place of Event Hubs")
        settings |= {
            "AZURE_EVENTHUB_CONN_STR": ready["connection_string"],
            "AZURE_EVENTHUB_NAME": _HUB,
            "AZURE_EVENTHUB_TRANSPORT": "amqp",
            # not the default directory: its records belong to the real hub
            "PROXY_SPOOL_DIR": str(directory / "spool"),
        }
    await children.server("proxy", "dev.traced:create_app", port, settings)
    return Proxy(port, key, deployment or _DEPLOYMENT, settings, spans, broker is not None)


def _new_key(owner: str) -> str:
    return f"{owner}-{secrets.token_hex(12)}"


def free_port(port: int) -> int:
    """Return the port, or a free one for 0. Raises CannotStart if a server cannot listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as fault:
            reason = getattr(fault, "strerror", None) or "ports go from 0 to 65535"
            raise CannotStart(f"Port {port} is not available ({reason}): choose another with --port.") from None
        found: int = probe.getsockname()[1]
    return found
