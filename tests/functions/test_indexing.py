"""What the runtime makes of function_app.py when it loads it."""

import json

import pytest

from tests.functions.host import FunctionsHost

pytestmark = pytest.mark.anyio


async def test_indexing_finds_exactly_two_functions(host: FunctionsHost) -> None:
    """The host learns of a catch-all behind a function key and of open health routes, and of nothing else."""
    bindings = {
        function["name"]: [json.loads(binding) for binding in function["raw_bindings"]] for function in host.metadata
    }
    answer = {"direction": "OUT", "type": "http", "name": "$return"}
    trigger = {"direction": "IN", "type": "httpTrigger", "name": "req"}
    assert bindings == {
        "proxy": [{**trigger, "route": "{*path}", "authLevel": "FUNCTION"}, answer],
        "health": [
            {**trigger, "route": "health/{*path}", "authLevel": "ANONYMOUS", "methods": ["GET"]},
            answer,
        ],
    }
