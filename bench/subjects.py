"""The subjects between the load and the mock upstream, each started as its documentation recommends."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.process import Process, free_port
from bench.tools import CACHE, Missing, found
from bench.workloads import API_VERSION, KEY, WORKLOADS

LITELLM: Final = "litellm"
_INSTRUMENTATION_KEY: Final = "00000000-1111-2222-3333-444444444444"
_NGINX: Final = """daemon off;
worker_processes 1;
{user}
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_max_body_size 64m;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  scgi_temp_path {directory}/nginx-scgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A route to the upstream; `process` is None for the direct one."""

    name: str
    port: int
    process: Process | None = None
    traced: bool = False
    """Its calls carry a sampled traceparent."""
    records: bool = False
    """It delivers a record of each call to the hub."""
    same_bytes: bool = True

    def stop(self) -> None:
        if self.process:
            self.process.stop()


@dataclass(frozen=True, slots=True)
class Setup:
    """What the subjects connect to, and the processors they run on."""

    directory: Path
    cpus: list[int]
    upstream: int
    sink: int
    hub: str


def nginx(setup: Setup) -> Subject:
    """Debian's nginx, one worker, without buffering: the minimal cost of a proxy. Raises Missing."""
    program, port, directory = found("nginx", "nginx: apt install nginx-light"), free_port(), setup.directory
    conf = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(_NGINX.format(directory=directory, user=user, upstream=setup.upstream, port=port))
    process = Process([program, "-e", "stderr", "-c", conf], directory / "nginx.err", setup.cpus)
    process.wait_ready(f"http://127.0.0.1:{port}/count")
    return Subject("nginx", port, process)


def proxy(setup: Setup, name: str, *arguments: str, traced: bool = False) -> Subject:
    """This proxy with everything on: records to the hub, Application Insights to the sink."""
    port = free_port()
    environ = {
        "AZURE_OPENAI_BASE_URL": f"http://127.0.0.1:{setup.upstream}",
        "AZURE_OPENAI_KEY": "upstream-key",
        "AZURE_EVENTHUB_CONN_STR": setup.hub,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={_INSTRUMENTATION_KEY};"
        f"IngestionEndpoint=http://127.0.0.1:{setup.sink}/",
        "PROXY_CLIENT_KEYS": KEY,
        "PROXY_SPOOL_DIR": str(setup.directory / f"spool-{name}"),
    }
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", f"--port={port}"]
    log = setup.directory / f"{name}.log"
    process = Process([*command, "--no-access-log", *arguments], log, setup.cpus, environ)
    process.wait_ready(f"http://127.0.0.1:{port}/health/live")
    return Subject(name, port, process, traced, records=True)


def litellm(setup: Setup) -> Subject:
    """LiteLLM's proxy with its OpenTelemetry callback. Raises Missing if it is not installed."""
    program = CACHE / LITELLM / "bin" / LITELLM
    if not program.exists():
        raise Missing("The benchmark needs LiteLLM for --peers: make bench BENCH_PEERS=1")
    port, config = free_port(), setup.directory / "litellm.json"
    upstream = {"api_base": f"http://127.0.0.1:{setup.upstream}", "api_key": "upstream-key"}
    deployments = sorted({workload.deployment for workload in WORKLOADS})
    models = [
        {"model_name": name, "litellm_params": {"model": f"azure/{name}", "api_version": API_VERSION, **upstream}}
        for name in deployments
    ]
    settings = {"litellm_settings": {"callbacks": ["otel"]}, "general_settings": {"master_key": KEY}}
    config.write_text(json.dumps({"model_list": models, **settings}))  # JSON is valid YAML
    environ = {
        "OTEL_EXPORTER": "otlp_http",
        "OTEL_ENDPOINT": f"http://127.0.0.1:{setup.sink}/v1/traces",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [
        str(program),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    process = Process(command, setup.directory / "litellm.log", setup.cpus, environ)
    process.wait_ready(f"http://127.0.0.1:{port}/health/liveliness")
    return Subject(LITELLM, port, process, same_bytes=False)


def broker_command(directory: Path) -> list[str]:
    """The local stand-in for Event Hubs."""
    return [sys.executable, "-m", "dev.event_hubs", "--port=0", f"--dir={directory}", f"--parent-pid={os.getpid()}"]


def sink_command() -> list[str]:
    """The stand-in for telemetry backends."""
    return [sys.executable, "-m", "bench.sink"]
