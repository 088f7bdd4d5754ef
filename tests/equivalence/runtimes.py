"""One scenario through the worker, and through Lambda."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.aws.change_source import ChangeSource
from streamkit.runtimes.worker import Options, Worker
from streamkit.testing import SeededChance, VirtualClock, run_virtual
from streamkit.testing.dynamodb_streams.service import calls
from streamkit.testing.mapping import (
    ChangeFeed,
    EventSourceMapping,
    Faults,
    Feed,
    KinesisFeed,
    Weather,
    Wire,
    deployed,
    run_mapped,
)
from tests.equivalence.stage import Broken, Stage

if TYPE_CHECKING:
    from tests.equivalence.scenario import Scenario

_IDLE = timedelta(seconds=40)
"""Longer than any pause of the producer."""
_DRAIN = timedelta(hours=1)


def by_worker(scenario: Scenario) -> Stage:
    """Run a scenario through a worker, with nothing amiss but the sink."""

    async def main() -> Stage:
        stage = Stage(scenario)
        worker = Worker(
            [stage.consumer()],
            stage.world,
            clock=VirtualClock(),
            chance=SeededChance().fork("worker"),
            report=stage.world.report,
            options=Options(until_idle=_IDLE, on_stuck=lambda: None),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.produce())
            group.create_task(worker.run())
        return stage

    return run_virtual(main, seed=scenario.seed)


def by_lambda(scenario: Scenario) -> tuple[Stage, EventSourceMapping]:
    """Run a scenario through the mapping and a function, with its trouble, until that is over and all drains."""

    async def main() -> tuple[Stage, EventSourceMapping]:
        stage, trouble = Stage(scenario), scenario.trouble
        wire = Wire(trouble.weather)
        function = deployed(
            stage.consumer(),
            stage.world,
            timeout=scenario.timeout,
            faults=trouble.faults,
            wire=wire,
        )
        async with EventSourceMapping(_feed(stage), function, scenario.terms) as mapping:
            async with asyncio.TaskGroup() as group:
                group.create_task(stage.produce())
                group.create_task(_operate(mapping, scenario))
            function.faults = Faults()
            wire.weather = Weather()
            try:
                await mapping.settled(within=_DRAIN)
            except TimeoutError:
                raise Broken(f"seed {scenario.seed}: not drained within {_DRAIN}: {mapping!r}") from None
        return stage, mapping

    return run_mapped(main, seed=scenario.seed)


def _feed(stage: Stage) -> Feed:
    if stage.scenario.source == "kinesis":
        return KinesisFeed(stage.world.stream)
    world = stage.world
    dynamodb, streams = calls(world.changing)
    clock, chance = VirtualClock(), SeededChance().fork("feed")
    return ChangeFeed(
        ChangeSource(dynamodb, streams, table="stream", clock=clock, chance=chance, report=lambda _: None)
    )


async def _operate(mapping: EventSourceMapping, scenario: Scenario) -> None:
    """Disable and enable the mapping at its moments; return when the trouble is over."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at in scenario.trouble.stops:
        await asyncio.sleep(max(0.0, began + at - loop.time()))
        await mapping.disable(abruptly=True)
        mapping.enable()
    await asyncio.sleep(max(0.0, began + scenario.trouble.lasts - loop.time()))
