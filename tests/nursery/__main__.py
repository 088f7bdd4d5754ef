"""The process that forks: loads all that programs need, then makes one for each request. Ends with its nursery.

A request is a message with the program's stdin, stdout, stderr, and the pipe on which its end is told.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from contextlib import ExitStack, suppress

import msgspec

from streamkit.cli import COMMANDS, main

MOST_BYTES = 1 << 18
LOADED = (
    *("aioboto3", "streamkit.aws.world", "streamkit.runtimes.worker", "streamkit.testing.endpoint"),
    *("moto.server", "moto.dynamodb.responses", "moto.s3.responses", "moto.sqs.responses"),
)
"""What programs import late."""


class Request(msgspec.Struct):
    """What to run, and where."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


class Parent:
    """Forks programs, and tells their ends."""

    def __init__(self, wire: socket.socket, resources: ExitStack) -> None:
        self._resources = resources
        self._wire = resources.enter_context(wire)
        self._selector = resources.enter_context(selectors.DefaultSelector())
        self._ended, wake = map(resources.enter_context, socket.socketpair())
        wake.settimeout(0.0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wire, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._pipes: dict[int, int] = {}
        """On which to tell the end of each."""

    def serve(self) -> Request | None:
        """Fork until the nursery closes. In a child, return what it is to run."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ended:
                    self._bury()
                    continue
                message, streams, *_ = socket.recv_fds(self._wire, MOST_BYTES, 4)
                if not message:
                    return None
                if self._fork(streams):
                    return msgspec.json.decode(message, type=Request)

    def _fork(self, streams: list[int]) -> bool:
        """Make a child; say whether this is the one."""
        *standard, pipe = streams
        if child := os.fork():
            for stream in standard:
                os.close(stream)
            self._pipes[child] = pipe
            self._tell(pipe, child)
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._resources.close()
        for number, stream in enumerate(standard):
            os.dup2(stream, number)
        for each in (*streams, *self._pipes.values()):
            os.close(each)
        return True

    def _bury(self) -> None:
        self._ended.recv(4096)
        for child, pipe in list(self._pipes.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self._tell(self._pipes.pop(child), os.waitstatus_to_exitcode(status))
                os.close(pipe)

    @staticmethod
    def _tell(pipe: int, number: int) -> None:
        with suppress(BrokenPipeError):
            os.write(pipe, number.to_bytes(4, signed=True))


def load() -> None:
    """Import what programs import, and read the descriptions of the services that the SDK would read anew each time."""
    import botocore.session

    for module in (*LOADED, *{place.partition(":")[0] for place in COMMANDS.values()}):
        importlib.import_module(module)
    session = botocore.session.get_session()
    for service in ("kinesis", "dynamodb", "dynamodbstreams", "sqs"):
        session.create_client(service, region_name="us-east-1")
    loader = session.get_component("data_loader")
    botocore.session.create_loader = lambda *_: loader
    gc.freeze()


def become(request: Request) -> None:
    """Be the program. Does not return."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    sys.argv = ["streamkit", *request.arguments]
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate(("r", "w", "w"))
    )
    main(request.arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load()
    with ExitStack() as resources:
        wanted = Parent(socket.socket(fileno=int(sys.argv[1])), resources).serve()
    if wanted is not None:
        become(wanted)
