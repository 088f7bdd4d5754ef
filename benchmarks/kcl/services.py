"""The services both applications work on: one emulator of Kinesis, DynamoDB and SQS, and a count of what they ask.

ministack, because the KCL's Kinesis client speaks HTTP/2 and nothing else, which the embedded endpoint does not.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from aiohttp import ClientSession, web

from benchmarks.measure import ROOT

PEERS = ROOT / ".cache" / "bench-kcl"
"""The environment of the KCL's jars, kclpy and ministack."""
START_SECONDS = 60.0
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"})
_HOP = {"host", "transfer-encoding", "content-length", "connection"}


def missing() -> str | None:
    """Say why the KCL cannot run here, if it cannot."""
    if shutil.which("java") is None:
        return "expected Java 8 or newer on the PATH, got none"
    if not (PEERS / ".made").exists():
        return f"expected the peers' environment in {PEERS}, got none: run `make bench-kcl`"
    return None


def jars() -> Path:
    """Return the folder of the KCL's jars."""
    [found] = PEERS.glob("lib/python*/site-packages/amazon_kclpy/jars")
    return found


class Counted:
    """A way to DynamoDB that counts requests by operation. They pass in a thread of their own."""

    def __init__(self, target: str) -> None:
        self.requests: Counter[str] = Counter()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._stop = asyncio.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError("expected the count of requests to begin, got nothing")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        async with ClientSession(auto_decompress=False) as self._session:
            await runner.setup()
            listening = socket.create_server(("127.0.0.1", 0))
            await web.SockSite(runner, listening).start()
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        self.requests[request.headers.get("X-Amz-Target", "").rpartition(".")[2]] += 1
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        async with self._session.request(request.method, self._target, data=body, headers=kept) as answer:
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=told)


@contextmanager
def emulator() -> Generator[str]:
    """Run ministack on this machine alone and yield its address. Raises TimeoutError if it does not come up."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(PEERS / "bin" / "python"), "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "ministack.app:app"]
    environment = {**os.environ, "MINISTACK_HOST": "127.0.0.1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:
        try:
            _wait_for(port, child)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def _wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"expected ministack to listen within {START_SECONDS:.0f} s, got nothing")


@contextmanager
def services() -> Generator[tuple[Mapping[str, str], Counted]]:
    """Run everything; yield the variables that lead an SDK there, and the count."""
    with emulator() as url, Counted(url) as counted:
        yield (
            {
                "AWS_ENDPOINT_URL": url,
                "AWS_ENDPOINT_URL_DYNAMODB": counted.url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_REGION": "us-east-1",
            },
            counted,
        )
