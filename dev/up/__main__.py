"""Starts the proxy with stand-ins for Azure, shows one streamed call end to end, and serves until Ctrl-C.

    python -m dev.up [--port 7071] [--deployment gpt-4o]

A simulator replaces Azure OpenAI and a broker replaces Event Hubs; a consumer reads the broker's records into a page
that shows them. The real service is used where the environment names one: AZURE_OPENAI_BASE_URL (with
AZURE_OPENAI_DEPLOYMENT or --deployment to say what to call), AZURE_EVENTHUB_CONN_STR or AZURE_EVENTHUB_NAMESPACE. The
processes it starts end with this one, and their files on disk are deleted.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from dev.up.children import ChildEnded, Children
from dev.up.page import Page
from dev.up.proxy import CannotStart, start_proxy


class Stopped(Exception):
    """A signal asked to stop."""


def main() -> None:
    """Run until a signal; exit with 1 if it cannot start or one of its processes ends."""
    parser = argparse.ArgumentParser(prog="python -m dev.up", description="The proxy with stand-ins for Azure.")
    parser.add_argument("--port", type=int, default=7071, help="the proxy's port; 0: any free port")
    parser.add_argument(
        "--deployment", default=os.environ.get("AZURE_OPENAI_DEPLOYMENT"), help="the deployment to call"
    )
    options = parser.parse_args()
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # its exceptions say the same
    # without a terminal rich would wrap lines at 80 columns
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    sys.exit(asyncio.run(_run(console, options.port, options.deployment)))


async def _run(console: Console, port: int, deployment: str | None) -> int:
    """Run, and return the exit status."""
    fault: Exception | None = None
    try:
        with TemporaryDirectory(prefix="proxy-", ignore_cleanup_errors=True) as directory:
            async with asyncio.TaskGroup() as group, Children(group, Path(directory)) as children:
                group.create_task(_until_signal(console))
                await _up(console, children, Path(directory), port, deployment)
    except* Stopped:
        console.print("Stopped.")
    except* (ChildEnded, CannotStart) as found:
        fault = found.exceptions[0]  # the others follow from it
    if fault is not None:
        console.print(Text(str(fault), "bold red"), soft_wrap=True)
    if isinstance(fault, ChildEnded):
        console.print(Text(fault.last_lines or "(It logged nothing.)"), soft_wrap=True)
    return 0 if fault is None else 1


async def _until_signal(console: Console) -> NoReturn:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    console.print("\nStopping …")
    raise Stopped


async def _up(console: Console, children: Children, directory: Path, port: int, deployment: str | None) -> None:
    def announce(name: str, address: str, nature: str) -> None:
        console.print(Text.assemble((f"{name:11}", "bold"), (f"{address:30}", "cyan"), nature), soft_wrap=True)

    with console.status("starting …"):
        proxy = await start_proxy(children, directory, os.environ, port, deployment, announce)
        # a slow import, made while the proxy starts
        from dev.up.show import Show

        await proxy.ready()
        announce("proxy", proxy.url, "ready for calls")
    # the port after the proxy's, so that a bookmark stays valid
    page = Page(children, directory, proxy, port + 1 if port else 0)
    await Show(console, proxy, page).run()


if __name__ == "__main__":
    main()
