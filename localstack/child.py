"""Run a module as a server on loopback that ends with its parent: `child.py MODULE ARGUMENT...`.

Runs in LocalStack's Python, of which it imports nothing by name.
"""

import functools
import importlib
import os
import runpy
import signal
import sys
import threading
import time
from importlib.util import find_spec
from typing import Any


def end_with(parent: int) -> None:
    """Terminate this process once its parent is gone: a killed launcher can stop nothing any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def keep_to_loopback() -> None:
    """Bind LocalStack's gateway to loopback.

    `GATEWAY_LISTEN=127.0.0.1:PORT` does not suffice: LocalStack 4.14 takes the port from it and listens on
    every interface (its `runtime/server/twisted.py`).
    """
    endpoints: Any = importlib.import_module("twisted.internet.endpoints")
    endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")


if __name__ == "__main__":
    del sys.argv[0]
    if find_spec("twisted"):
        keep_to_loopback()
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
