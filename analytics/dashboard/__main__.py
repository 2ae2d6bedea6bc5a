"""Serves a web page of the calls, to this machine only, until Ctrl-C.

    python -m analytics.dashboard --table DIR|URL [--port 7072] [--app-insights ID]

It reads the table that `analytics.consume` writes and shows new calls within seconds. Prints its address once it
listens.
"""

import argparse
import socket
import sys
from typing import Final

import uvicorn

from analytics.dashboard.server import create_app
from analytics.folder import folder

_HOST: Final = "127.0.0.1"


def main() -> None:
    """Serve; exit with 1 if the port is not available."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics.dashboard", description="Serves a web page of the calls."
    )
    parser.add_argument("--table", required=True, help="directory, or URL that fsspec supports")
    parser.add_argument("--port", type=int, default=7072, help="0: any free port (default: %(default)s)")
    parser.add_argument("--app-insights", metavar="ID", help="resource id, for links to traces")
    options = parser.parse_args()
    try:
        listening = socket.create_server((_HOST, options.port))
    except (OSError, OverflowError) as fault:
        sys.exit(f"Port {options.port} is not available ({fault}): choose another with --port.")
    with listening:
        print(f"http://{_HOST}:{listening.getsockname()[1]}/", flush=True)
        application = create_app(folder(options.table), options.app_insights)
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False, ws="none"))
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
