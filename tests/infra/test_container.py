"""The container: no engine runs here, so its instructions run in a new environment, and the proxy they start works."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.doctor.model import model
from tests.conftest import environ
from tests.infra.deployed import ROOT, deployed
from tests.kit.hub import Broker
from tests.kit.ports import held_port
from tests.kit.proxy import KEY
from tests.kit.uv import SYSTEM_CERTS

TEXT = (ROOT / "infra/container/Dockerfile").read_text()
COPIED = re.findall(r"^COPY (\S+) (\S+)$", TEXT, re.MULTILINE)
COMMAND: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", TEXT, re.MULTILINE)[-1])
HEALTH: list[str] = json.loads(re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", TEXT, re.MULTILINE)[0])


def test_it_has_the_deployed_packages() -> None:
    """It copies the packages that .funcignore includes, runs as its own user, and has the repository's Python."""
    included = {line[2:].strip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line[:1] == "!"}
    assert {source for source, _ in COPIED} == included - {"function_app.py", "host.json"}
    assert f"FROM python:{(ROOT / '.python-version').read_text().strip()}-slim-" in TEXT
    assert TEXT.index("\nUSER 10001") < TEXT.index("\nCMD ")
    assert COMMAND[:3] == ["uvicorn", "app.main:create_app", "--factory"]


def test_the_platform_treats_it_as_its_instructions_say() -> None:
    """The container app has the image's port, spool and health paths, and more time to stop than the app takes."""
    app = deployed("containerapps").one("Microsoft.App/containerApps").properties
    template, (container,) = app["template"], app["template"]["containers"]
    port = int(COMMAND[COMMAND.index("--port") + 1])
    assert app["configuration"]["ingress"]["targetPort"] == port
    assert f"EXPOSE {port}" in TEXT
    spool = deployed("containerapps").settings()["PROXY_SPOOL_DIR"]
    assert f"VOLUME {spool}" in TEXT
    assert container["volumeMounts"] == [{"volumeName": template["volumes"][0]["name"], "mountPath": spool}]
    probes = {probe["type"]: probe["httpGet"] for probe in container["probes"]}
    assert probes == {
        "Startup": {"path": "/health/live", "port": port},
        "Liveness": {"path": "/health/live", "port": port},
        "Readiness": {"path": "/health/ready", "port": port},
    }
    assert template["terminationGracePeriodSeconds"] >= 15, "docs/reliability.md: 12 s at the default, at the worst"
    (rule,) = template["scale"]["rules"]
    assert rule["http"] == {"metadata": {"concurrentRequests": "100"}}
    environment = deployed("containerapps").one("Microsoft.App/managedEnvironments").properties
    assert environment["ingressConfiguration"]["requestIdleTimeout"] * 60 > 240
    profiles = {profile["name"]: profile for profile in environment["workloadProfiles"]}
    assert profiles[environment["ingressConfiguration"]["workloadProfileName"]]["minimumCount"] == 2
    keep_alive = int(COMMAND[COMMAND.index("--timeout-keep-alive") + 1])
    assert keep_alive > environment["ingressConfiguration"]["requestIdleTimeout"] * 60


def test_without_an_image_it_has_no_probes() -> None:
    """Before the first deployment of the code a stand-in runs, which lacks the paths."""
    (container,) = (
        deployed("containerapps-private").one("Microsoft.App/containerApps").properties["template"]["containers"]
    )
    assert container["probes"] == []
    assert container["image"].startswith("mcr.microsoft.com/")


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_its_commands_run_in_a_new_environment(tmp_path: Path, upstream: Any, broker: Broker) -> None:
    """What it installs and copies serves calls, passes the health check and the doctor, and stops in time."""
    install = re.findall(r"^RUN (pip install .*?) \\$", TEXT, re.MULTILINE)[0].split()
    home, binaries = tmp_path / "srv", tmp_path / "venv/bin"
    home.mkdir()
    for source, target in COPIED:
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, home / source if target == source else home / target)
    try:
        run([sys.executable, "-m", "venv", binaries.parent], home)
        run([binaries / "python", "-m", *(word for word in install if word != "--no-cache-dir")], home)
    except subprocess.SubprocessError as fault:
        missing = f"requirements.txt could not be installed: {getattr(fault, 'stderr', fault)}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    slow = functools.partial(model, seconds=0.05)
    with held_port() as port:
        settings = environ(upstream(slow).url, broker.conn_str, tmp_path / "spool")
        given = {"PATH": f"{binaries}:{os.environ['PATH']}", "AZURE_OPENAI_API_KEY": KEY, **settings}
        command = [str(port) if word == "8080" else word for word in COMMAND]
        proxy = subprocess.Popen(
            [str(binaries / command[0]), *command[1:]], cwd=home, env=given, stderr=subprocess.DEVNULL
        )
        try:
            check = [str(binaries / HEALTH[0]), *(word.replace(":8080/", f":{port}/") for word in HEALTH[1:])]
            until = time.monotonic() + 120
            while subprocess.run(check, env=given, capture_output=True, check=False).returncode:
                assert proxy.poll() is None
                assert time.monotonic() < until
                threading.Event().wait(0.2)
            doctor = ["python", "-m", "app.doctor", f"http://127.0.0.1:{port}", "--hub-conn-str", broker.conn_str]
            said = run(
                [binaries / doctor[0], *doctor[1:], "--timeout", "60"], home, NO_PROXY="*", AZURE_OPENAI_API_KEY=KEY
            )
            assert "Everything works." in said
            proxy.send_signal(signal.SIGTERM)
            assert proxy.wait(60) == -signal.SIGTERM, "uvicorn stops in order, and then passes the signal on"
        finally:
            proxy.kill()
            proxy.wait(60)


def run(command: list[Any], folder: Path, **more: str) -> str:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | SYSTEM_CERTS | more,
        check=True,
        capture_output=True,
        text=True,
        timeout=500,
    ).stdout
