"""The process apart: it handles as the worker would, and whatever ends it, the worker is told and lives (rule 22)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from streamkit import Failed, Partial, Poison, Unavailable
from streamkit.cli.ward import command
from streamkit.clock import SystemClock
from streamkit.core.changes import Change
from streamkit.core.letters import Told, cause_of
from streamkit.core.records import Batch
from streamkit.runtimes.apart.frames import Ready, packed
from streamkit.runtimes.apart.ward import NoWard, ProcessWard
from streamkit.testing import change
from streamkit.testing import record as a_record

CONSUMER = """
import asyncio, ctypes, os, signal, sys
from contextlib import asynccontextmanager
from datetime import timedelta
from streamkit import Failed, Kinesis, Partial, Poison, Record, Unavailable, consumer

print("a line of the user's own, at the import")

class Text(str):
    pass

@asynccontextmanager
async def life():
    yield "state"

@consumer("one", source=Kinesis("stream"), lifespan=life)
async def one(record: Record, *, state) -> None:
    print("a line of the user's own")
    match record.text():
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "loop":
            while True:
                pass
        case "wait":
            await asyncio.sleep(3600)
        case "poison":
            raise Poison("bad")
        case "unavailable":
            raise Unavailable("down", retry_after=timedelta(seconds=7))
        case "error":
            raise KeyError("missing")
        case "half":
            raise ValueError("half a pair: \\ud83d")
        case "key":
            assert record.key == "half \\ud83d"
        case "poison of an error":
            raise Poison(KeyError("bad"))
        case "poison of a text":
            raise Poison(Text("bad"))
        case "unavailable for an error":
            raise Unavailable(OSError("down"))
        case "unavailable for a number":
            raise Unavailable("down", 5)
        case _:
            assert state == "state"

@consumer.batch("many", source=Kinesis("stream"))
def many(batch):
    if batch[0].text() == "partial":
        raise Partial(done=batch[:1], failed={batch[1]: ValueError("bad")})
    raise Failed(batch[-1], cause=Poison("worse"))

@consumer("changes", source=Kinesis("stream", changes=True))
async def changes(record) -> None:
    assert record.new == {"id": 1}, record
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where the consumers are."""
    (tmp_path / "apart_consumers.py").write_text(CONSUMER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Deaths(list[str]):
    """Who is told how a ward died."""

    def __init__(self) -> None:
        super().__init__()
        self.some = asyncio.Event()
        self.busy = False
        """Whether an attempt was under way."""

    def __call__(self, how: str, busy: bool) -> None:  # noqa: FBT001 - as a ward tells it
        """Be told."""
        self.append(how)
        self.busy = busy
        self.some.set()


@asynccontextmanager
async def opened(name: str) -> AsyncGenerator[tuple[ProcessWard, Deaths]]:
    """Open a ward for one of the consumers."""
    ward, deaths = ProcessWard(command(f"apart_consumers:{name}", None)), Deaths()
    async with asyncio.timeout(60), ward.opened(deaths):
        yield ward, deaths


@pytest.mark.usefixtures("folder")
async def test_what_a_handler_says_is_heard() -> None:
    """Success, signals and errors, of records, batches and changes; what it prints is nobody's answer."""
    async with opened("one") as (ward, deaths):
        async with asyncio.TaskGroup() as group:
            for n in range(50):
                group.create_task(ward.call(a_record(f"fine {n}".encode())))
        with pytest.raises(Poison, match="bad"):
            await ward.call(a_record(b"poison"))
        with pytest.raises(Unavailable) as down:
            await ward.call(a_record(b"unavailable"))
        assert down.value.retry_after == timedelta(seconds=7)
        with pytest.raises(Told) as told:
            await ward.call(a_record(b"error"))
        cause = cause_of(told.value)
        assert (cause.type, cause.message) == ("KeyError", "'missing'")
        assert "apart_consumers.py" in cause.where
        with pytest.raises(Told, match="surrogates not allowed"):
            await ward.call(a_record(b"half"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ward.call(a_record(b"wait"))
        await ward.call(a_record(b"fine"))
        assert deaths == []


@pytest.mark.usefixtures("folder")
async def test_a_signal_that_is_not_as_it_should_be_ends_no_ward() -> None:
    """It is told in words; and one that cannot be told at all is an error."""
    async with opened("one") as (ward, deaths):
        for text, kind, reason in (
            (b"poison of an error", Poison, "'bad'"),
            (b"poison of a text", Poison, "bad"),
            (b"unavailable for an error", Unavailable, "down"),
            (b"unavailable for a number", Told, "total_seconds"),
        ):
            with pytest.raises(kind, match=reason):
                await ward.call(a_record(text))
        assert deaths == []


@pytest.mark.usefixtures("folder")
async def test_a_key_with_half_a_surrogate_pair_is_handled() -> None:
    """Whatever the worker would handle is handled there, as it is."""
    async with opened("one") as (ward, deaths):
        await ward.call(a_record(b"key", key="half \ud83d"))
        assert deaths == []


@pytest.mark.usefixtures("folder")
async def test_who_is_who_in_a_batch_is_heard() -> None:
    """The records that are named are the worker's own."""
    async with opened("many") as (ward, _):
        batch = Batch([a_record(text, sequence=n) for n, text in enumerate((b"partial", b"b"), 1)])
        with pytest.raises(Partial) as partial:
            await ward.call(batch)
        assert partial.value.done == [batch[0]]
        assert [*partial.value.failed] == [batch[1]]
        with pytest.raises(Failed) as failed:
            await ward.call(Batch(batch[1:]))
        assert failed.value.record is batch[1]
        assert isinstance(failed.value.cause, Poison)


@pytest.mark.usefixtures("folder")
async def test_a_change_stays_a_change() -> None:
    """Its images are read where it is handled."""
    made = change({"id": 1}, new={"id": 1})
    assert isinstance(made, Change)
    async with opened("changes") as (ward, _):
        await ward.call(made)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("killer", "how"),
    [("exit", "exit status 3"), ("kill", "signal 9 (SIGKILL)"), ("segfault", "signal 11 (SIGSEGV)")],
)
async def test_the_worker_is_told_how_it_died(killer: str, how: str) -> None:
    """By `os._exit`, by the kernel for want of memory, by native code; the attempts under way never return."""
    async with opened("one") as (ward, deaths), asyncio.TaskGroup() as group:
        attempts = [group.create_task(ward.call(a_record(text))) for text in (b"wait", killer.encode())]
        await deaths.some.wait()
        assert deaths == [how]
        assert deaths.busy
        assert not any(attempt.done() for attempt in attempts)
        for attempt in attempts:
            attempt.cancel()


@pytest.mark.usefixtures("folder")
async def test_a_ward_that_dies_while_nothing_runs_in_it_says_so() -> None:
    """What was answered, or was cancelled and has ended, did not kill it."""
    async with opened("one") as (ward, deaths):
        await ward.call(a_record(b"fine"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ward.call(a_record(b"wait"))
        ward.kill("memory")
        await deaths.some.wait()
        assert deaths == ["memory"]
        assert not deaths.busy


@pytest.mark.usefixtures("folder")
async def test_what_comes_too_late_begins_when_it_may() -> None:
    """The fence may fall between the question and the handler: nothing has happened, and the record is not to blame."""
    now = SystemClock.monotonic()
    ends = [now - 1.0]
    async with opened("one") as (ward, deaths), asyncio.TaskGroup() as group:

        async def refused() -> None:
            with pytest.raises(Poison):
                await ward.call(a_record(b"poison"), until=lambda: ends[-1])

        late = group.create_task(refused())
        await ward.call(a_record(b"fine"), until=lambda: now + 3600)
        assert not late.done()
        ends.append(0.0)  # it is down
        await ward.call(a_record(b"fine"))
        assert not late.done()
        ends.append(now + 3600)
        await late
    assert deaths == []


@pytest.mark.usefixtures("folder")
async def test_an_endless_loop_is_killed() -> None:
    """Nothing in the process could stop it: no cancellation, no time-out, no end of its parent's."""
    async with opened("one") as (ward, deaths), asyncio.TaskGroup() as group:
        attempt = group.create_task(ward.call(a_record(b"loop")))
        await asyncio.sleep(0.1)
        attempt.cancel()
        await asyncio.sleep(0.1)
        assert not attempt.done()
        ward.kill("stuck")
        await deaths.some.wait()
        assert deaths == ["stuck"]
        attempt.cancel()


@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\0\0\0\1\xc1", packed(Ready())[:-1] + b"!"])
async def test_a_process_that_says_nonsense_is_ended(garbage: bytes) -> None:
    """What crashed native code leaves in the pipe takes no memory of the worker's, and is a death like others."""
    said = packed(Ready()) + garbage
    script = f"import os, time; os.write(1, {said!r}); time.sleep(3600)"
    ward, deaths = ProcessWard([sys.executable, "-c", script]), Deaths()
    async with asyncio.timeout(60), ward.opened(deaths):
        await deaths.some.wait()
        assert deaths[0].startswith("expected a frame")


CHILD = """
import os, signal, sys, threading
from streamkit.runtimes.apart.child import _write, prepare
from streamkit.runtimes.apart.frames import Ready, packed

asks, answers = prepare()
"""


@asynccontextmanager
async def script(text: str) -> AsyncGenerator[tuple[ProcessWard, Deaths]]:
    """Open a ward that prepares itself and then does this."""
    ward, deaths = ProcessWard([sys.executable, "-c", CHILD + text]), Deaths()
    async with asyncio.timeout(10), ward.opened(deaths):
        yield ward, deaths


def _runs(file: Path) -> bool:
    """Whether the process whose number is in the file has not ended."""
    status = Path(f"/proc/{file.read_text(encoding='ascii')}/stat")
    try:
        return status.read_text(encoding="utf-8").rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(file: Path) -> None:
    """Wait until the process has ended."""
    async with asyncio.timeout(10):
        while _runs(file):
            await asyncio.sleep(0.01)


FORKS = """
import time
if (orphan := os.fork()) == 0:
    time.sleep(3600)
with open({file!r}, "w") as file:
    file.write(str(orphan))
_write(os.fdopen(answers, "wb", 0), packed(Ready()))
"""
"""What a pool of processes does: its workers have the pipe as well."""


async def test_a_death_is_told_though_a_child_of_the_ward_has_its_pipe(tmp_path: Path) -> None:
    """The pipe does not end with the process: the worker does not wait for its end, and the child ends with it."""
    file = tmp_path / "orphan"
    async with script(FORKS.format(file=str(file)) + "os.kill(os.getpid(), signal.SIGKILL)") as (_, deaths):
        await deaths.some.wait()
        assert deaths == ["signal 9 (SIGKILL)"]
        await gone(file)


async def test_what_a_ward_started_ends_with_it(tmp_path: Path) -> None:
    """In good order, too: nothing of a handler goes on once its shard is let go of."""
    file = tmp_path / "orphan"
    async with script(FORKS.format(file=str(file)) + "os.read(asks, 1)") as (_, deaths):
        pass
    assert deaths == []
    await gone(file)


async def test_a_ward_that_says_no_more_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.exit` leaves a thread behind that keeps the process: nobody is served there any more."""
    monkeypatch.setattr("streamkit.runtimes.apart.ward._END_SECONDS", 0.2)
    stays = """
threading.Thread(target=threading.Event().wait).start()
pipe = os.fdopen(answers, "wb", 0)
_write(pipe, packed(Ready()))
os.read(asks, 1)
pipe.close()
sys.exit(3)
"""
    async with script(stays) as (ward, deaths), asyncio.TaskGroup() as group:
        attempt = group.create_task(ward.call(a_record(b"exit")))
        await deaths.some.wait()
        assert deaths == ["signal 9 (SIGKILL)"]
        attempt.cancel()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", [b"wait", b"loop"])
async def test_an_attempt_that_was_cancelled_ends_with_its_process(text: bytes) -> None:
    """Nobody cancels it once more: a task group passes a cancellation on once, and the worker would wait for ever."""
    async with opened("one") as (ward, deaths):
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            attempt = group.create_task(ward.call(a_record(text)))
            await asyncio.sleep(0.1)
            ward.kill("let go of")
            attempt.cancel()
        assert attempt.cancelled()
        assert deaths == ["let go of"]


@pytest.mark.usefixtures("folder")
async def test_a_consumer_that_cannot_be_imported_has_no_ward() -> None:
    """The worker says so, and tries suspects itself."""
    with pytest.raises(NoWard, match="exit status 2"):
        async with opened("nobody"):
            pass
