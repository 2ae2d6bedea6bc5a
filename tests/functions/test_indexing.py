"""What the runtime finds when it loads function_app.py, and how it reports an invalid environment."""

import json
from pathlib import Path

import pytest

from tests.functions import chat
from tests.functions.conftest import REPOSITORY, StartHost, new_client
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_indexing_finds_exactly_two_functions(host: FunctionsHost) -> None:
    """A catch-all that needs a function key, and open health routes."""
    bindings = {
        function["name"]: [json.loads(binding) for binding in function["raw_bindings"]] for function in host.metadata
    }
    answer = {"direction": "OUT", "type": "http", "name": "$return"}
    trigger = {"direction": "IN", "type": "httpTrigger", "name": "req"}
    health = {"route": "health/{*path}", "authLevel": "ANONYMOUS", "methods": ["GET"]}
    assert bindings == {
        "proxy": [{**trigger, "route": "{*path}", "authLevel": "FUNCTION"}, answer],
        "health": [{**trigger, **health}, answer],
    }


async def test_a_placeholder_is_specialised(new_host: StartHost, upstream: Upstream, tmp_path: Path) -> None:
    """A worker started without app and settings gets both later, and then serves."""
    async with new_host(app_directory=tmp_path, AZURE_OPENAI_BASE_URL="") as host:
        assert host.functions == []
        await host.specialise(REPOSITORY, host.worker.environment | {"AZURE_OPENAI_BASE_URL": upstream.url})
        async with new_client(host) as client:
            await chat.ask(client, upstream)


async def test_every_fault_in_the_environment_is_reported_at_load(new_host: StartHost) -> None:
    """Invalid settings fail the load with a message that names each variable and shows no value."""
    host = new_host(AZURE_OPENAI_BASE_URL="", PROXY_MAX_SECONDS="no number at all")
    async with host.worker as worker:
        answer = await worker.ask("worker_init_request", function_app_directory=str(REPOSITORY), capabilities={})
    assert answer["result"]["status"] == 0
    message = answer["result"]["exception"]["message"]
    assert "AZURE_OPENAI_BASE_URL" in message
    assert "PROXY_MAX_SECONDS" in message
    assert "no number at all" not in message
