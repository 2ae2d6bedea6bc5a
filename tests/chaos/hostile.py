"""Measures what hostile request bodies cost: `python -m tests.chaos.hostile` prints a table of peak memory and stalls.

Each body goes to a process of its own. The stall is the longest time in which /health/live, asked again and again on
one connection, waited for an answer; on a busy machine it includes other processes' turns.
"""

import http.client
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import environ
from tests.kit.hub import Broker
from tests.kit.proxy import KEY, ProxyProcess
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import CHAT, chat_json

MIB = 1024 * 1024
SIZE = 64 * MIB - 1024


def filled(unit: bytes, before: bytes = b'{"messages":[', after: bytes = b"]}", size: int = SIZE) -> bytes:
    """A body of `size` bytes made of one repeated value."""
    return before + unit + (b"," + unit) * ((size - len(unit)) // (len(unit) + 1)) + after


def bodies() -> Iterator[tuple[str, bytes]]:
    """Names and bodies."""
    yield "`{},{},…`", filled(b"{}")
    yield "`0,0,…`", filled(b"0")
    yield '`"","",…`', filled(b'""')
    yield "lone surrogates", filled(b'"\\ud800"')
    yield "one lone surrogate in a text", b'{"messages":["\\ud800' + b"a" * SIZE + b'"]}'
    yield "5 million keys", b"{" + b",".join(b'"%d":0' % number for number in range(5_000_000)) + b"}"
    yield "nested 30 million deep", b'{"messages":' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}"
    yield "ten texts of 6 MiB", filled(b'"' + b"lorem ipsum " * (MIB // 2) + b'"', size=SIZE - 6 * MIB)
    yield "one text with an emoji", b'{"messages":["' + "😀".encode() + b"a" * SIZE + b'"]}'
    yield "messages of 100 bytes", filled(b'{"role":"user","content":"' + b"a" * 70 + b'"}')


class Probe:
    """Asks for /health/live, in a process of its own, until it is stopped."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.chaos.hostile", str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> float:
        """The longest wait in seconds."""
        return float(self._process.communicate("", timeout=300)[0])


def ask(port: int) -> None:
    """Ask until standard input ends; print a line at the first answer, and the longest wait at the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    longest, told = 0.0, False
    while not select.select([sys.stdin], [], [], 0)[0]:
        before = time.monotonic()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        longest = max(longest, time.monotonic() - before)
        if not told:
            told = True
            longest = 0.0
            print("asking", flush=True)
    print(longest)


def memory(pid: int, name: str) -> float:
    """VmRSS, or VmHWM (its peak), in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def send(port: int, body: bytes) -> int:
    """The status of a call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", CHAT, body, {"api-key": KEY, "content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def measure(broker: Broker, upstream: ScriptedUpstream, body: bytes) -> tuple[int, float, float]:
    """The status, the peak in MiB and the stall in ms that a body causes in a fresh process."""
    with tempfile.TemporaryDirectory() as spool:
        process = ProxyProcess(environ(upstream.url, broker.conn_str, Path(spool))).wait_started()
        try:
            send(process.port, b'{"messages":[]}')
            before = memory(process.pid, "VmRSS")
            probe = Probe(process.port)
            status = send(process.port, body)
            stall = probe.stop()
            return status, memory(process.pid, "VmHWM") - before, stall * 1000
        finally:
            process.close()


def main() -> None:
    """Print the table."""

    async def script(request: Seen, reply: Reply) -> None:
        upstream.seen.clear()
        await reply.json(chat_json())

    upstream = ScriptedUpstream(script)
    with tempfile.TemporaryDirectory() as data, upstream:
        broker = Broker(Path(data))
        print("| body | MiB | status | peak MiB | of the body | stall ms |\n| --- | --- | --- | --- | --- | --- |")
        for name, body in bodies():
            status, peak, stall = measure(broker, upstream, body)
            size = len(body) / MIB
            print(f"| {name} | {size:.0f} | {status} | {peak:.0f} | {peak / size:.1f} x | {stall:.0f} |", flush=True)
        broker.close()


if __name__ == "__main__":
    ask(int(sys.argv[1])) if sys.argv[1:] else main()
