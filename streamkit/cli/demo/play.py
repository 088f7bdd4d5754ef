"""The play: put, consume, kill, wait, look, judge."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from streamkit.cli.demo.checkout import CONSUMER, Checkout
from streamkit.cli.demo.evidence import Evidence, gather
from streamkit.cli.demo.producer import Produced, produce
from streamkit.cli.demo.screen import Advance, Screen
from streamkit.cli.demo.verdict import Verdict, judge
from streamkit.cli.demo.workers import LEASE, Broken, Process, initialised, two_workers
from streamkit.cli.demo.world import SHARDS, Stage, is_of, stage
from streamkit.cli.loading import load
from streamkit.clock import SystemClock
from streamkit.consumer import Consumer
from streamkit.core.leasing import Member
from streamkit.errors import ConfigurationError
from streamkit.ports import Clock

Workers = tuple[Process, Process]
Watch = Callable[[], Awaitable[int]]
"""Looks once and returns how many flights are handled, about."""

_POLL_SECONDS = 0.2
_LIMIT_SECONDS = 300.0
"""For the workers, all in all."""


class Scene(msgspec.Struct, frozen=True):
    """What every act needs."""

    stage: Stage
    screen: Screen
    checkout: Checkout
    lines: list[bytes]
    """The flights to put."""
    consumer: Consumer
    clock: Clock
    logs: Path


async def play(*, flights: int | None, logs: Path) -> int:
    """Play it, show it, and return the exit status. `logs` is a folder for those of the processes."""
    screen, clock, checkout = Screen(), SystemClock(), Checkout.find()
    began = clock.monotonic()
    _heed_sigterm()
    screen.title("streamkit demo: a week of departures, two workers, one of them killed half-way")
    try:
        evidence = await perform(checkout, screen=screen, logs=logs, flights=flights)
    except Broken as broken:
        screen.note("broken", str(broken), style="red")
        return 1
    return _tell(judge(evidence), screen, logs, clock.monotonic() - began)


async def perform(checkout: Checkout, *, screen: Screen, logs: Path, flights: int | None) -> Evidence:
    """Play it and return what is there afterwards. Raises `Broken`."""
    os.chdir(checkout.root)
    lines = checkout.flights(flights)
    async with stage() as world:
        screen.note("world", f"Kinesis, DynamoDB and SQS at {world.url}")
        await world.build()
        await initialised(checkout, logs)
        scene = Scene(world, screen, checkout, lines, load(CONSUMER), SystemClock(), logs)
        produced, victim = await _work(scene)
        screen.note("looking", "into the stream, the tables and the queue")
        return await gather(world, scene.consumer, lines, produced, victim=victim.worker)


async def _work(scene: Scene) -> tuple[Produced, Member]:
    """Put the flights while two workers run; kill one of them half-way, and wait until the other is idle."""
    screen, lines = scene.screen, scene.lines
    try:
        async with two_workers(scene.checkout, scene.logs) as workers, asyncio.timeout(_LIMIT_SECONDS):
            await _share(scene, workers)
            with screen.progress("putting", len(lines)) as advance:
                produced = await produce(scene.stage, lines, progress=advance)
            screen.note("flights", _told(len(lines), produced))
            with screen.progress("handling", len(lines), aloud=True) as advance:
                victim = await _follow(scene, workers, _watch(scene, workers, advance))
    except TimeoutError:
        raise Broken(f"expected the workers idle within {_LIMIT_SECONDS:.0f} s, see {scene.logs}") from None
    return produced, victim


def _told(flights: int, produced: Produced) -> str:
    lost = produced.lost_answers
    again = f"{lost} batches whose answers were lost" if lost != 1 else "1 batch whose answer was lost"
    return f"{flights:,} put by aircraft; {again} put again"


async def _share(scene: Scene, workers: Workers) -> None:
    """Wait until both workers hold shards."""
    watch = _watch(scene, workers, lambda _: None)
    while not all(member.holds for member in await _members(scene, workers)):
        await watch()
    pids = " and ".join(str(worker.pid) for worker in workers)
    scene.screen.note("workers", f"two of `streamkit run {CONSUMER}`: processes {pids}, sharing {SHARDS} shards")


async def _members(scene: Scene, workers: Sequence[Process]) -> list[Member]:
    """Return each worker's heartbeat row, or an empty one."""
    try:
        members, _ = await scene.stage.workers(scene.consumer)
    except ConfigurationError:  # none has come as far as to register
        members = []
    return [
        next((member for member in members if is_of(member, worker.pid) and member.state == "alive"), Member(""))
        for worker in workers
    ]


async def _follow(scene: Scene, workers: Workers, watch: Watch) -> Member:
    """Watch until the workers have ended, and return the one killed on the way."""
    while 2 * await watch() < len(scene.lines):
        if not any(worker.running for worker in workers):
            raise Broken(f"expected workers that live to see half of the flights, got none, see {scene.logs}")
    survivor, victim = await _kill(scene, workers)
    killed = scene.clock.monotonic()
    while survivor.running and len((await _members(scene, [survivor]))[0].holds) < SHARDS:
        await watch()
    took = scene.clock.monotonic() - killed
    scene.screen.note("taken over", f"by {survivor.name} after {took:.1f} s: the lease was {LEASE}", style="yellow")
    while survivor.running:
        await watch()
    return victim


async def _kill(scene: Scene, workers: Workers) -> tuple[Process, Member]:
    """Kill the worker that holds more shards; return the other one, and the row of the dead."""
    found = zip(workers, await _members(scene, workers), strict=True)
    (survivor, _), (worker, member) = sorted(found, key=lambda each: len(each[1].holds))
    await worker.kill()
    scene.screen.note(
        "SIGKILL", f"to {worker.name}, process {worker.pid}, in the midst of {len(member.holds)} shards", style="yellow"
    )
    return survivor, member


def _watch(scene: Scene, workers: Workers, advance: Advance) -> Watch:
    """Return what shows how far the workers are, sees that they are well, and takes a breath."""
    total = len(scene.lines)

    async def watch() -> int:
        # The ledger has a row for each flight begun, and nearly each of them is done: good enough for a bar.
        done = min(total, await scene.stage.rows(scene.consumer.table))
        advance(done)
        for worker in workers:
            if worker.status and not worker.killed:
                raise Broken(worker.failure())
        await asyncio.sleep(_POLL_SECONDS)
        return done

    return watch


def _tell(verdict: Verdict, screen: Screen, logs: Path, elapsed_seconds: float) -> int:
    screen.verdict(verdict)
    screen.note("took", f"{elapsed_seconds:.0f} s" + ("" if verdict.holds else f"; logs of the workers: {logs}"))
    screen.objections(verdict)
    screen.blank()
    screen.last(verdict)
    return 0 if verdict.holds else 1


def _heed_sigterm() -> None:
    """Let SIGTERM unwind as Ctrl-C does: children are ended on the way out."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
