"""Runs a module as `python -m` does, until stdin ends: `python -m dev.tied MODULE [OPTION …]`.

The process cannot outlive a parent that holds the other end of its stdin, even one that is killed.
"""

import os
import runpy
import signal
import sys
import threading


def tie() -> None:
    """Send this process SIGTERM when its stdin ends."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module that the first argument names, and pass it the others."""
    tie()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
