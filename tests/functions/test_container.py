"""Containers: what is kept between invocations, and what must not be (the oldest Lambda bug)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from streamkit import Consumer, Kinesis, Poison, Record, Sqs, consumer
from streamkit.runtimes.function import container
from tests.functions.stage import SETTLED, kinesis

LATE = (
    *("aioboto3", "aiobotocore", "aiohttp", "click", "structlog", "tenacity", "rich", "tomllib", "streamkit.testing"),
    *("streamkit.aws.clients", "streamkit.aws.sqs", "streamkit.aws.ledger", "streamkit.aws.table", "streamkit.cli"),
    *("streamkit.core.changes", "streamkit.core.envelope", "streamkit.engine.retry", "streamkit.runtimes.worker"),
    *("streamkit.core.balance", "streamkit.core.leasing", "streamkit.core.lineage", "streamkit.core.replay"),
)
MOST_MODULES = 63
"""Of streamkit, that a clean batch of plain records loads: a gate, for every one costs about half a millisecond."""

PROGRAM = """
import sys
from streamkit import Kinesis, Record, Sqs, consumer

@consumer("{name}", source=Kinesis("stream"), dead_letters=Sqs("{name}"))
async def records(record: Record) -> None: ...

class Context:
    def get_remaining_time_in_millis(self): return 30_000

assert records.lambda_handler({event!r}, Context()) == {{"batchItemFailures": []}}, "not settled"
print([name for name in {late!r} if name in sys.modules])
print(sum(name.partition(".")[0] == "streamkit" for name in sys.modules))
"""


class Context:
    """Plenty of time."""

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return 60_000


@pytest.fixture
def effects() -> list[tuple[str, int, object]]:
    """Consumer, record, lifespan's value."""
    return []


def a_consumer(name: str, effects: list[tuple[str, int, object]], opened: list[object]) -> Consumer:
    """Return a consumer with a lifespan, which notes what it does and refuses record 3."""

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[object]:
        opened.append(threading.get_ident())
        yield opened[-1]

    @consumer(name, source=Kinesis("stream"), dead_letters=Sqs(name), lifespan=lifespan)
    async def records(record: Record, *, state: object) -> None:
        if record.data == b"3":
            raise Poison("three")
        effects.append((name, int(record.data), state))

    return records


def test_a_warm_container_leaks_nothing_into_the_next_invocation(
    resource: Callable[[], str], effects: list[tuple[str, int, object]]
) -> None:
    """The loop, the clients and the lifespan are kept; failures, letters and records of one event are not."""
    opened: list[object] = []
    handler = a_consumer(resource(), effects, opened).lambda_handler
    for numbers in (range(5), range(5, 10), range(3, 7), range(10, 12)):
        assert handler(kinesis(*numbers), Context()) == SETTLED
    assert sorted(number for _, number, _ in effects) == [n for n in range(12) if n != 3]
    assert len(opened) == 1


CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")
LIFE: ContextVar[str] = ContextVar("LIFE", default="none")


def test_context_variables_are_those_of_the_caller_and_of_the_lifespan(resource: Callable[[], str]) -> None:
    """A span or a correlation id that somebody sets around an invocation is seen in it, and in no later one."""
    seen: list[tuple[str, str]] = []

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        LIFE.set("opened")
        yield

    name = resource()

    @consumer(name, source=Kinesis("stream"), dead_letters=Sqs(name), lifespan=lifespan)
    async def records(record: Record) -> None:
        seen.append((CALLER.get(), LIFE.get()))
        CALLER.set("a handler")

    for number, caller in enumerate(("first", "second")):
        around = copy_context()
        around.run(CALLER.set, caller)
        assert around.run(records.lambda_handler, kinesis(number), Context()) == SETTLED
        assert around.get(CALLER) == caller
    assert records.lambda_handler(kinesis(2), Context()) == SETTLED
    assert seen == [("first", "opened"), ("second", "opened"), ("nobody", "opened")]


def test_inside_a_running_loop_an_invocation_is_refused_whole(
    resource: Callable[[], str], effects: list[tuple[str, int, object]]
) -> None:
    """Nothing of it is left over for the next one, be the container cold or warm."""
    handler = a_consumer(resource(), effects, []).lambda_handler

    async def inside(number: int) -> None:
        with pytest.raises(RuntimeError, match="expected a thread in which no event loop runs"):
            handler(kinesis(number), Context())

    for number in (10, 20):
        asyncio.run(inside(number))
        assert handler(kinesis(number + 5), Context()) == SETTLED
    assert [number for _, number, _ in effects] == [15, 25]


def test_what_an_interrupted_invocation_left_under_way_does_not_go_on_in_the_next(
    resource: Callable[[], str],
) -> None:
    """It would take effect in an invocation whose records, fence and deadline are others.

    A KeyboardInterrupt leaves a loop as SystemExit does, but would end the tests that it fails.
    """
    effects: list[int] = []
    later = asyncio.Event()
    name = resource()

    @consumer(name, source=Kinesis("stream"), dead_letters=Sqs(name))
    async def records(record: Record) -> None:
        number = int(record.data)
        if number == 0:
            await later.wait()
        if number == 1:
            raise SystemExit
        later.set()
        effects.append(number)

    with pytest.raises(SystemExit):
        records.lambda_handler(kinesis(0, 1, shard="shardId-1"), Context())
    assert records.lambda_handler(kinesis(10, 11, shard="shardId-2"), Context()) == SETTLED
    assert sorted(effects) == [10, 11]


def test_two_consumers_of_one_module_do_not_disturb_each_other(
    resource: Callable[[], str], effects: list[tuple[str, int, object]]
) -> None:
    """Each has its table, queue and lifespan, though they share container and stream."""
    consumers = [a_consumer(resource(), effects, []) for _ in range(2)]
    for numbers in (range(5), range(5, 10), range(10)):
        for each in consumers:
            assert each.lambda_handler(kinesis(*numbers), Context()) == SETTLED
    for each in consumers:
        assert sorted(n for name, n, _ in effects if name == each.name) == [n for n in range(10) if n != 3]


def test_two_threads_do_not_disturb_each_other(
    resource: Callable[[], str], effects: list[tuple[str, int, object]]
) -> None:
    """Powertools' race: two functions that share a layer, in two threads. Each has a loop and a lifespan of its own."""
    opened: list[object] = []
    consumers = [a_consumer(resource(), effects, opened) for _ in range(2)]
    together = threading.Barrier(4)
    answers: list[object] = []

    def work(index: int) -> None:
        together.wait(10)
        for turn in range(5):
            numbers = range(100 * index + 10 * turn, 100 * index + 10 * turn + 10)
            answers.append(consumers[index % 2].lambda_handler(kinesis(*numbers, shard=f"shardId-{index}"), Context()))
        container.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [SETTLED] * 20
    expected = [n for index in range(4) for n in range(100 * index, 100 * index + 50) if n != 3]
    assert sorted(number for _, number, _ in effects) == expected
    assert len(opened) == len(set(opened)) == 4
    assert all(state in opened for _, _, state in effects)


class Router:
    """Forwards connections to the endpoint; it may forget them all, as happens while a container is frozen."""

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition("//")[2].rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Reset every connection: what is sent on it from now on is answered by nobody."""
        ends, self._open = self._open, []
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            end.close()

    def close(self) -> None:
        """Stop."""
        self.forget()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self.connections += 1
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)


def test_clients_survive_that_their_connections_die_while_frozen(
    resource: Callable[[], str], embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next invocation connects anew, and does not fail for it; within one, connections are reused."""
    name, router = resource(), Router(embedded["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", router.url)
    effects: list[tuple[str, int, object]] = []
    handler = a_consumer(name, effects, []).lambda_handler
    try:
        for first in (10, 20, 30):
            began = router.connections
            assert handler(kinesis(*range(first, first + 3)), Context()) == SETTLED
            assert handler(kinesis(*range(first + 3, first + 6)), Context()) == SETTLED
            assert router.connections - began <= 2, "the SDK's own for the first requests, then one"
            router.forget()
    finally:
        router.close()
    assert sorted(number for _, number, _ in effects) == [n for first in (10, 20, 30) for n in range(first, first + 6)]


def test_a_cold_start_loads_nothing_that_it_need_not(resource: Callable[[], str]) -> None:
    """boto3 is enough: a clean batch under a fresh interpreter loads neither aioboto3 nor structlog nor tenacity."""
    program = PROGRAM.format(name=resource(), event=kinesis(1, 2, 3), late=LATE)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    *_, late, modules = done.stdout.splitlines()
    assert late == "[]"
    assert int(modules) <= MOST_MODULES


@pytest.fixture(autouse=True)
def own_container() -> Iterator[None]:
    """Let each test begin with a cold container, and close it."""
    container.close()
    yield
    container.close()
    assert "STREAMKIT_CONFIG" not in os.environ


def test_the_environment_configures_a_function_as_it_does_a_worker(
    resource: Callable[[], str], effects: list[tuple[str, int, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undeclared responses raise; a declared factor makes two requests of a clean batch."""
    handler: Any = a_consumer(resource(), effects, []).lambda_handler
    monkeypatch.setenv("STREAMKIT_PARALLELIZATION_FACTOR", "11")
    with pytest.raises(Exception, match="STREAMKIT_PARALLELIZATION_FACTOR: expected a whole number from 1 to 10"):
        handler(kinesis(1), Context())


def test_an_invocation_writes_a_line_of_metrics_where_it_is_asked_to(
    resource: Callable[[], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it did, and no more than it did; events stand on lines of their own."""
    monkeypatch.setenv("STREAMKIT_METRICS", "emf")
    subject = a_consumer(resource(), [], [])
    try:
        assert subject.lambda_handler(kinesis(1, 2, 3, 4), Context()) == SETTLED
        assert subject.lambda_handler(kinesis(5, 6), Context()) == SETTLED
    finally:
        container.close()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = [line for line in lines if "_aws" in line]
    told = ("RecordsReceived", "ReceivedBytes", "RecordsHandled", "HandlerCount", "RecordsDeadLettered")
    assert [first[name] for name in told] == [4, 4, 3, 4, 1]
    assert [second[name] for name in told] == [2, 2, 2, 2, 0]
    assert first["Consumer"] == subject.name
