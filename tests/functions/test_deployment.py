"""The files next to function_app.py, which the host and deployment tools read."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import REPOSITORY, StartHost


def read(name: str) -> Any:
    return json.loads((REPOSITORY / name).read_text())


def test_there_is_no_route_prefix() -> None:
    """The client's path is the upstream's."""
    assert read("host.json")["extensions"]["http"]["routePrefix"] == ""


def test_the_host_timeout_exceeds_the_proxys() -> None:
    """functionTimeout, which restarts the worker with all its streams, exceeds PROXY_MAX_SECONDS."""
    hours, minutes, seconds = map(int, read("host.json")["functionTimeout"].split(":"))
    limit = float(read("local.settings.sample.json")["Values"]["PROXY_MAX_SECONDS"])
    assert hours * 3600 + minutes * 60 + seconds > limit


@pytest.mark.anyio
async def test_the_sample_settings_start_the_app(new_host: StartHost) -> None:
    """The app loads with an unchanged copy of local.settings.sample.json."""
    async with new_host(**read("local.settings.sample.json")["Values"]) as host:
        assert len(host.functions) == 2


def test_the_sample_contains_no_secret() -> None:
    """Every key in the sample is a placeholder, and the only hosts are local."""
    values = read("local.settings.sample.json")["Values"]
    hosts = re.findall(r"(?:https?|sb)://([^/;:\"]+)", json.dumps(values))
    assert all(host in {"127.0.0.1", "localhost"} for host in hosts)
    assert all("local" in value for name, value in values.items() if name.endswith("_KEY"))


def test_only_runtime_files_are_deployed(tmp_path: Path) -> None:
    """Of a checkout, .funcignore keeps the entry point, host.json, the requirements and the three packages."""
    kept = ["function_app.py", "host.json", "requirements.txt", "app/main.py", "app/operations/chat.py"]
    kept += ["otel/span.py", "exporters/spool.py"]
    left = ["local.settings.json", "README.md", "requirements-dev.txt", "pyproject.toml", ".git/config", ".env"]
    left += ["tests/app/test_main.py", "dev/up.py", "docs/app/a.md", "infra/main.bicep", "app/__pycache__/main.pyc"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text((REPOSITORY / ".funcignore").read_text())
    check = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", *kept, *left]
    ignored = subprocess.run(check, capture_output=True, text=True, check=False).stdout.splitlines()
    assert ignored == left


def test_the_platform_does_not_pick_its_fastapi_runtime() -> None:
    """The proxy worker searches function_app.py for these texts to recognize an app for its own FastAPI runtime.

    Azure/azure-functions-python-worker, workers/proxy_worker/dispatcher.py, reload_library_worker.
    """
    source = (REPOSITORY / "function_app.py").read_text()
    assert "FastAPI()" not in source
    assert "from fastapi import" not in source
