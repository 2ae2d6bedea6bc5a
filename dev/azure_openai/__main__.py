"""A simulator of the Azure OpenAI service: a process that responds in the service's shapes and at its pace.

    python -m dev.azure_openai --port 0 [--region "Sweden Central"] [--key SECRET] [--token-ms 20]
        [--first-token-ms 150] [--filter sync|async|off] [--simulate WORDS] [--parent-pid PID]

It listens on 127.0.0.1 and prints {"port": …, "base_url": …} as its first line. SIGTERM, SIGINT and the
exit of process --parent-pid stop it. Operations, under /openai/deployments/NAME/ with an api-version and under
/openai/v1/: chat/completions, completions, embeddings, images/generations, audio/transcriptions and
audio/speech; under /openai/ and /openai/v1/: responses and models. Anything else is a 404. Answers depend on the
prompt alone.

Special names and prompts:
    deployment `missing`            does not exist: 404 DeploymentNotFound
    deployment o1, o3 …, gpt-5 …    a reasoning model: usage includes reasoning tokens
    [filter the prompt]             400, code content_filter
    [filter the answer]             200, finish_reason content_filter, and in JSON no message
    [refuse]                        a refusal
    [parallel]                      two tool calls instead of one
A request with tools gets tool calls, unless its last message is a tool's result or tool_choice is none.

The header `x-simulate` controls the response to a call: words separated by `;`. A fault queued by POST
/_simulator/faults replaces the header. --simulate and the other options are the defaults.
    429 | 503 | status=N            an error of that status, with retry-after-ms=N if given (429: 2000)
    delay-ms=N                      waits before it sends anything
    silent                          never sends anything
    first-token-ms=N, token-ms=N    the pace; a JSON response takes as long as its tokens
    tokens=N                        an answer of N tokens (text only)
    cut-after=N                     resets the connection after N events
    close-after=N                   closes the connection after N events, the body unfinished
    stall-after=N                   sends N events, then nothing; the connection stays open
    error-event-after=N             sends N events, then an error event, and ends
    no-done                         omits the last event of a stream: [DONE], response.completed
    no-usage                        never reports usage
    pieces=N                        writes events N bytes at a time
    filter=sync|async|off           the content filter: with the text, apart from it, or none
    region=NAME                     x-ms-region; empty omits the header
    spilled-over                    x-ms-is-spilled-over: true
Events are counted as on the wire; the first holds the prompt's filter results. cut-after, close-after and
stall-after break a JSON response off halfway, whatever their number. An unknown word is a 400.

Endpoints for tests:
    GET, DELETE /_simulator/requests    {"total", "requests": [{number, method, path, headers, body,
        body_bytes, body_sha256, status, events, outcome}]}: the last 1,000, with the first MiB of each body;
        outcome is open, completed, broken_off (as simulated) or aborted (by the client)
    POST /_simulator/faults             {"simulate": WORDS, "times": N}: for the next N calls of any kind
    GET, DELETE /_simulator/faults      the faults still queued
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
    """Run until a signal arrives or the parent exits."""
    parser = argparse.ArgumentParser(prog="dev.azure_openai", description="A simulator of the Azure OpenAI service.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--region", default="Sweden Central")
    parser.add_argument("--key", help="the key that callers must send; without it any caller is admitted")
    parser.add_argument("--token-ms", type=float, default=20.0)
    parser.add_argument("--first-token-ms", type=float, default=150.0)
    parser.add_argument("--filter", choices=("sync", "async", "off"), default="sync")
    parser.add_argument("--simulate", default="", metavar="WORDS", help="x-simulate words for every call")
    parser.add_argument("--parent-pid", type=int, help="exit when this process does")
    options = parser.parse_args()
    defaults = Simulation(
        first_token_ms=options.first_token_ms,
        token_ms=options.token_ms,
        filter=options.filter,
        region=options.region,
    ).with_words(options.simulate)
    asyncio.run(_serve(Simulator(defaults, options.key).app(), options.port, options.parent_pid))


async def _serve(app: web.Application, port: int, parent_pid: int | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        port = runner.addresses[0][1]
        print(json.dumps({"port": port, "base_url": f"http://127.0.0.1:{port}"}), flush=True)
        await (stopped.wait() if parent_pid is None else _wait_for_exit(parent_pid, stopped))
    finally:
        await runner.cleanup()


async def _wait_for_exit(pid: int, stopped: asyncio.Event) -> None:
    """Wait until the process is gone or `stopped` is set."""
    is_parent = os.getppid() == pid
    while _is_alive(pid) and (os.getppid() == pid or not is_parent):
        try:
            async with asyncio.timeout(_PARENT_CHECK_SECONDS):
                await stopped.wait()
        except TimeoutError:
            continue
        return


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
