"""Hostile request bodies: they pass, and cost a bounded amount of memory, whatever they are made of."""

from pathlib import Path

import pytest

from tests.chaos.hostile import MIB, bodies, measure
from tests.kit.hub import Broker
from tests.kit.linux import needs_proc
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import chat_json


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_body_takes_a_few_times_its_size(tmp_path: Path) -> None:
    """At most four, with its record; without a limit on values, `{},{},…` took fifty-five."""
    needs_proc()

    async def script(request: Seen, reply: Reply) -> None:
        upstream.seen.clear()
        await reply.json(chat_json())

    broker = Broker(tmp_path)
    try:
        with ScriptedUpstream(script) as upstream:
            for name, body in bodies():
                status, peak, _ = measure(broker, upstream, body)
                assert (name, status) == (name, 200)
                assert peak * MIB <= 4 * len(body), name
    finally:
        broker.close()
