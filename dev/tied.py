"""Runs a module as `python -m` does, and ends with its stdin: `python -m dev.tied MODULE [OPTION …]`.

Who starts a process so, and holds the other end of its stdin, is not outlived by it, however it comes to its own end.
"""

import os
import runpy
import signal
import sys
import threading


def tie() -> None:
    """From now on SIGTERM ends this process when its stdin ends."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module that the first argument names, with the others as its own."""
    tie()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
