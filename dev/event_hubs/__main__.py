"""A stand-in for Azure Event Hubs: an AMQP 1.0 broker in its own process, for the unmodified Azure clients.

    python -m dev.event_hubs --port 0 --dir DIR

The first line on stdout is a JSON object with `port`, `control_port` and `connection_string`. SIGTERM and
SIGINT stop it. Events stay in DIR, for the next broker started there. dev.event_hubs.control describes how to
set faults.
"""

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

from dev.event_hubs.broker import Broker
from dev.event_hubs.connection import Connection
from dev.event_hubs.control import Control
from dev.event_hubs.hub import Hub
from dev.event_hubs.token import SharedKey

_HOST = "127.0.0.1"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.event_hubs", description="A stand-in for Azure Event Hubs.")
    parser.add_argument("--dir", type=Path, required=True, help="where events are stored")
    parser.add_argument("--port", type=int, default=5672, help="0: any free port")
    parser.add_argument("--control-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--hub", default="records")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--key-name", default="RootManageSharedAccessKey")
    parser.add_argument("--key", default="SAS_KEY_VALUE")
    parser.add_argument("--max-message-size", type=int, default=1024 * 1024, help="in bytes")
    parser.add_argument("--parent-pid", type=int, help="exit when this process does")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    hub = Hub(arguments.hub, arguments.partitions, arguments.dir)
    broker = Broker(hub, SharedKey(arguments.key_name, arguments.key), arguments.max_message_size)
    amqp = await loop.create_server(lambda: Connection(broker), _HOST, arguments.port)
    control = await asyncio.start_server(Control(broker).serve, _HOST, arguments.control_port)
    port = amqp.sockets[0].getsockname()[1]
    ready = {
        "port": port,
        "control_port": control.sockets[0].getsockname()[1],
        "connection_string": f"Endpoint=sb://localhost:{port};SharedAccessKeyName={arguments.key_name};"
        f"SharedAccessKey={arguments.key};UseDevelopmentEmulator=true;EntityPath={arguments.hub}",
    }
    print(json.dumps(ready), flush=True)
    if arguments.parent_pid:
        _watch_parent(arguments.parent_pid, stopped)
    await stopped.wait()
    amqp.close()
    control.close()
    amqp.abort_clients()
    # One iteration of the event loop, for the aborted connections to leave the hub.
    await asyncio.sleep(0)
    hub.close()


def _watch_parent(pid: int, stopped: asyncio.Event) -> None:
    """Stop when the process ends, even if it is a zombie."""
    try:
        parent = os.pidfd_open(pid)
    except ProcessLookupError:
        stopped.set()
        return
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(parent)
        stopped.set()

    loop.add_reader(parent, ended)


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
