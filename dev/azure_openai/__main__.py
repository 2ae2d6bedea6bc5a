"""A simulator of the Azure OpenAI service: a process that answers in the service's shapes and at its pace.

    python -m dev.azure_openai --port 0 [--region "Sweden Central"] [--key SECRET] [--token-ms 20]
        [--first-token-ms 150] [--filter sync|async|off] [--simulate WORDS] [--parent-pid PID]

It listens on 127.0.0.1 and prints {"port": …, "base_url": …} as its first line. SIGTERM, SIGINT and the end
of the process --parent-pid end it. Operations, under /openai/deployments/NAME/ with an api-version and under
/openai/v1/: chat/completions, completions, embeddings, images/generations, audio/transcriptions and
audio/speech; under /openai/ and /openai/v1/: responses and models. All else is a 404. Answers follow from the
prompt alone.

Names and prompts with a meaning:
    deployment `missing`            does not exist: 404 DeploymentNotFound
    deployment o1, o3 …, gpt-5 …    a reasoning model: reasoning tokens are counted
    [filter the prompt]             400, code content_filter
    [filter the answer]             200, finish_reason content_filter, and in JSON no message
    [refuse]                        a refusal
    [parallel]                      two tool calls where there would be one
A request with tools gets tool calls, unless its last message is a tool's answer or tool_choice is none.

How one call is answered: header `x-simulate`, words joined by `;`. A fault set by POST /_simulator/faults
takes its place; --simulate and the other options hold where neither says anything.
    429 | 503 | status=N            an error of that status; retry-after-ms=N goes with it (with 429: 2000)
    delay-ms=N                      waits before it sends anything
    silent                          sends nothing, ever
    first-token-ms=N, token-ms=N    the pace; JSON answers take as long as their tokens would
    tokens=N                        an answer of N tokens (text only)
    cut-after=N                     resets the connection after N events
    close-after=N                   ends the connection after N events, the body unfinished
    stall-after=N                   sends N events and no more, the connection stays open
    error-event-after=N             sends N events, then an error event, and ends
    no-done                         leaves out what closes a stream: [DONE], response.completed
    no-usage                        never reports usage
    pieces=N                        writes events N bytes at a time
    filter=sync|async|off           the content filter: in step, apart from the text, or none
    region=NAME                     x-ms-region; empty leaves it out
    spilled-over                    x-ms-is-spilled-over: true
Events are counted as they stand on the wire, the first being the prompt's filter results. cut-after,
close-after and stall-after break a JSON answer off in its middle, whatever their number. An unknown word is a
400.

For tests to look and to act:
    GET, DELETE /_simulator/requests    {"total", "requests": [{number, method, path, headers, body,
        body_bytes, body_sha256, status, events, outcome}]}: the last 1,000, of each body the first MiB;
        outcome is open, completed, broken_off (as simulated) or aborted (by the client)
    POST /_simulator/faults             {"simulate": WORDS, "times": N}: for the next N calls of any kind
    GET, DELETE /_simulator/faults      those that still wait
"""

import argparse
import asyncio
import json
import os
import signal

from aiohttp import web

from dev.azure_openai.server import Simulator
from dev.azure_openai.simulation import Simulation

_PARENT_CHECK_SECONDS = 0.5
_SHUTDOWN_SECONDS = 0.1


def main() -> None:
    """Run until told to end."""
    parser = argparse.ArgumentParser(prog="dev.azure_openai", description="A simulator of the Azure OpenAI service.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--region", default="Sweden Central")
    parser.add_argument("--key", help="what callers must show; any caller is let in without it")
    parser.add_argument("--token-ms", type=float, default=20.0)
    parser.add_argument("--first-token-ms", type=float, default=150.0)
    parser.add_argument("--filter", choices=("sync", "async", "off"), default="sync")
    parser.add_argument("--simulate", default="", metavar="WORDS", help="x-simulate words for every call")
    parser.add_argument("--parent-pid", type=int, help="end with this process")
    options = parser.parse_args()
    defaults = Simulation(
        first_token_ms=options.first_token_ms,
        token_ms=options.token_ms,
        filter=options.filter,
        region=options.region,
    ).but(options.simulate)
    asyncio.run(_serve(Simulator(defaults, options.key).app(), options.port, options.parent_pid))


async def _serve(app: web.Application, port: int, parent_pid: int | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        port = runner.addresses[0][1]
        print(json.dumps({"port": port, "base_url": f"http://127.0.0.1:{port}"}), flush=True)
        await (ended.wait() if parent_pid is None else _end_of(parent_pid, ended))
    finally:
        await runner.cleanup()


async def _end_of(pid: int, ended: asyncio.Event) -> None:
    """Wait for a process to be gone, or for `ended`."""
    is_parent = os.getppid() == pid
    while _lives(pid) and (os.getppid() == pid or not is_parent):
        try:
            async with asyncio.timeout(_PARENT_CHECK_SECONDS):
                await ended.wait()
        except TimeoutError:
            continue
        return


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
