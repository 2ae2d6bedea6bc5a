"""Starts the proxy on stand-ins for Azure, shows one streamed call from end to end, and serves until Ctrl-C.

    python -m dev.up [--port 7071] [--deployment gpt-4o]

A simulator takes the place of Azure OpenAI and a broker that of Event Hubs. Each gives way to the real service where
the environment names one: AZURE_OPENAI_BASE_URL (with AZURE_OPENAI_DEPLOYMENT or --deployment to say what to call),
AZURE_EVENTHUB_CONN_STR or AZURE_EVENTHUB_NAMESPACE. Whatever is started ends with this process, and what it keeps on
disk goes with it.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console
from rich.text import Text

from dev.up_children import ChildEnded, Children
from dev.up_proxy import Proxy, Refused, start_proxy

if TYPE_CHECKING:
    from dev.up_records import Records

_PROMPT: Final = "What does a trace tell?"
_PROMPT_FOR_CURL: Final = "Why trace a call?"
_RECORD_S: Final = 30.0


class Stopped(Exception):
    """A signal asked for the end."""


def main() -> None:
    """Run until a signal; exit with 1 if it could not start or one of its processes ended."""
    parser = argparse.ArgumentParser(prog="python -m dev.up", description="The proxy on stand-ins for Azure.")
    parser.add_argument("--port", type=int, default=7071, help="where the proxy listens; 0: any free one")
    parser.add_argument("--deployment", default=os.environ.get("AZURE_OPENAI_DEPLOYMENT"), help="the one to call")
    options = parser.parse_args()
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # all it has to say is in its exceptions too
    # without a terminal rich would fold lines at 80
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    sys.exit(asyncio.run(_run(console, options.port, options.deployment)))


async def _run(console: Console, port: int, deployment: str | None) -> int:
    """Returns the exit status."""
    faults: list[Exception] = []
    try:
        with TemporaryDirectory(prefix="proxy-", ignore_cleanup_errors=True) as directory:
            async with asyncio.TaskGroup() as group, Children(group, Path(directory)) as children:
                group.create_task(_until_signal(console))
                await _up(console, children, Path(directory), port, deployment)
    except* Stopped:
        console.print("Stopped.")
    except* (ChildEnded, Refused) as group_of_faults:
        faults += group_of_faults.exceptions
    for fault in faults:
        console.print(Text(str(fault), "bold red"))
        if isinstance(fault, ChildEnded):
            console.print(Text(fault.last_lines or "It said nothing."), soft_wrap=True)
    return 1 if faults else 0


async def _until_signal(console: Console) -> NoReturn:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    console.print("\nStopping …")
    raise Stopped


async def _up(console: Console, children: Children, directory: Path, port: int, deployment: str | None) -> NoReturn:
    def tell(name: str, address: str, nature: str) -> None:
        console.print(Text.assemble((f"{name:11}", "bold"), (f"{address:28}", "cyan"), nature), soft_wrap=True)

    with console.status("starting …"):
        proxy = await start_proxy(children, directory, os.environ, port, deployment, tell)
        # imports that take as long as the proxy needs for its own, which it does meanwhile
        from dev.up_records import Records
    async with Records(proxy.settings) as records:
        with console.status("starting …"):
            await proxy.ready()
        tell("proxy", proxy.url, "ready")
        await _show_call(console, proxy, records)
        await _follow(console, proxy, records)


async def _show_call(console: Console, proxy: Proxy, records: "Records") -> None:
    """Make one call, and show what the client, the trace and the hub have of it."""
    from dev.up_call import StreamedCall
    from dev.up_records import Unreadable
    from dev.up_view import HEADING

    call = StreamedCall()


async def _follow(console: Console, proxy: Proxy, records: "Records") -> NoReturn:
    """Say how to call, and print a line for each record that comes."""
    from dev.up_records import Unreadable
    from dev.up_view import HEADING, record_line

    console.print("[bold]Serving.[/] Call it from another terminal; each record shows here as it arrives:\n")
    console.print(Text(proxy.curl(_PROMPT_FOR_CURL)), soft_wrap=True)
    console.print("\nCtrl-C stops all of it.\n")
    console.print(Text(HEADING, "dim"), soft_wrap=True)
    while True:
        try:
            console.print(record_line(await records.next()), soft_wrap=True)
        except Unreadable as fault:
            console.print(Text(f"The hub cannot be read: {fault}", "red"), soft_wrap=True)
