"""Three backends, each of which keeps what was made on it."""

import json
from typing import Any

from tests.kit.upstream import Reply, ScriptedUpstream, Seen

NAMES = ("a", "b", "c")
MISSING = b'{"error":{"code":"404","message":"Not on %b."}}'


class Resource:
    """A backend that keeps what was made on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: set[str] = set()

    async def script(self, request: Seen, reply: Reply) -> None:
        path = request.target.partition("?")[0]
        _, _, suffix = path.removeprefix("/openai/").removeprefix("v1/").partition("/")
        if suffix and path.startswith(("/openai/v1/audio", "/openai/v1/images")):
            await reply.json(b'{"text":"%b"}' % self.name.encode())
        elif suffix:
            found = suffix.partition("/")[0] in self.made
            body = (
                json.dumps({"id": suffix, "object": "response", "on": self.name}).encode()
                if found
                else MISSING % self.name.encode()
            )
            await reply.json(body, 200 if found else 404)
        elif (previous := json.loads(request.body or b"{}").get("previous_response_id")) and previous not in self.made:
            await reply.json(b'{"error":{"code":"previous_response_not_found","message":"No."}}', 400)
        else:
            made = f"{path.rpartition('/')[2].rstrip('s')}_{self.name}{len(self.made)}"
            self.made.add(made)
            answer = {"id": made, "object": "response", "status": "completed", "output": [], "on": self.name}
            await reply.json(json.dumps(answer).encode())


class Proxied:
    """A proxy with three backends of equal priority, each with a deployment of its own."""

    def __init__(self, upstream: Any, proxy: Any) -> None:
        self.resources = [Resource(name) for name in NAMES]
        self.servers: list[ScriptedUpstream] = [upstream(resource.script) for resource in self.resources]
        self._proxy = proxy
        self.restart()

    def restart(self) -> None:
        """Another process, which knows no ids."""
        backends = [
            {"name": one.name, "base_url": server.url, "key": "k", "deployments": [f"on-{one.name}", "shared"]}
            for one, server in zip(self.resources, self.servers, strict=True)
        ]
        self.url: str = self._proxy(self.servers[0].url, AZURE_OPENAI_BACKENDS=json.dumps(backends)).url

    def asked(self) -> int:
        """How many requests have gone upstream."""
        return sum(len(server.seen) for server in self.servers)
