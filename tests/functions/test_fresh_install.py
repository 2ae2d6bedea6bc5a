"""The deployed package in a fresh environment: requirements.txt, and the files that .funcignore keeps."""

import ast
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functions import chat
from tests.functions.conftest import REPOSITORY, new_client, records_of
from tests.functions.host import FunctionsHost
from tests.functions.upstream import Upstream
from tests.functions.worker import Worker
from tests.kit.hub import Broker
from tests.kit.uv import SYSTEM_CERTS

pytestmark = [pytest.mark.anyio, pytest.mark.heavy, pytest.mark.timeout(600)]


def run(*command: str | Path) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=500, env=os.environ | SYSTEM_CERTS
    ).stdout


def install(into: Path) -> tuple[Path, Path]:
    """A new environment with only requirements.txt, and a directory with what the platform provides.

    The platform provides azure-functions-runtime without its dependencies: requirements.txt must have them. Raises
    SubprocessError if PyPI is unreachable.
    """
    uv = (sys.executable, "-m", "uv")
    python, platform = into / "venv/bin/python", into / "platform"
    run(*uv, "venv", "-q", "--python", sys.executable, into / "venv")
    run(*uv, "pip", "install", "-q", "--python", python, "-r", "requirements.txt")
    pinned = (REPOSITORY / "requirements-dev.txt").read_text().splitlines()
    runtime = next(line for line in pinned if line.startswith("azure-functions-runtime=="))
    run(*uv, "pip", "install", "-q", "--python", python, "--no-deps", "--target", platform, runtime)
    return python, platform


def package(into: Path) -> None:
    """Copy the files that .funcignore keeps."""
    tracked = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    (into / ".gitignore").write_text((REPOSITORY / ".funcignore").read_text())
    run("git", "init", "-q", into)
    check = ["git", "-C", str(into), "check-ignore", "--no-index", "-z", "--stdin"]
    ended = subprocess.run(check, input="\0".join(tracked), capture_output=True, text=True, check=False)
    for name in {name for name in tracked if name and (REPOSITORY / name).is_file()} - set(ended.stdout.split("\0")):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_bytes((REPOSITORY / name).read_bytes())


def imported(app: Path) -> set[str]:
    """Every third-party module that the package imports anywhere; the doctor too runs from what is deployed."""
    found: set[str] = set()
    for path in app.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    ours = {path.stem for path in app.iterdir()}
    return {name for name in found if name.partition(".")[0] not in {*ours, *sys.stdlib_module_names}}


async def test_the_package_needs_only_its_requirements(tmp_path: Path, upstream: Upstream, broker: Broker) -> None:
    """With only requirements.txt installed the package serves a call and a stream, and records both."""
    try:
        python, platform = await asyncio.to_thread(install, tmp_path)
    except subprocess.SubprocessError as fault:
        missing = f"requirements.txt could not be installed: {getattr(fault, 'stderr', fault)}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    app = tmp_path / "app"
    app.mkdir()
    await asyncio.to_thread(package, app)
    assert {path.name for path in app.iterdir()} - {".git", ".gitignore"} == {
        *("function_app.py", "host.json", "requirements.txt", "app", "otel", "exporters")
    }
    modules = sorted(imported(app))
    assert len(modules) > 30
    # including lazy imports: an optional feature must find its library
    await asyncio.to_thread(run, python, "-c", f"import {', '.join(modules)}")
    environment = {
        "PYTHONPATH": str(platform),
        "AZURE_OPENAI_BASE_URL": upstream.url,
        "AZURE_OPENAI_KEY": "upstream-key-93ab",
        "AZURE_EVENTHUB_CONN_STR": broker.conn_str,
        "PROXY_SPOOL_DIR": str(tmp_path / "spool"),
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_app_service",
    }
    traces = ["7443172185796075a1c4ac88139b6cab", "0af7651916cd43dd8448eb211c80319c"]
    async with FunctionsHost(Worker(environment, python=python), app) as host, new_client(host) as client:
        await chat.ask(client, upstream, chat.in_trace(traces[0]))
        async with chat.stream(client, upstream, chat.in_trace(traces[1])) as stream:
            for event in chat.EVENTS:
                await stream.pass_on(event)
            await stream.end()
        host.worker.process.terminate()
        assert await host.worker.exit_code() == 0
    statuses = [[record["status"] for record in await records_of(broker, trace)] for trace in traces]
    assert statuses == [["completed"], ["completed"]]
