"""`streamkit run`: a worker in the foreground."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from streamkit.cli.loading import config_option, configured, consumers_argument
from streamkit.cli.ward import wards

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamkit.config import Configured
    from streamkit.consumer import Consumer
    from streamkit.ports import Clock, Report
    from streamkit.runtimes.apart.ward import Ward
    from streamkit.runtimes.worker import Worker

_INTERRUPTED = 130


@click.command(options_metavar="[OPTIONS]")
@consumers_argument
@click.option("--until-idle", metavar="SECONDS", help="Stop once everything is settled for so long: 30, 500ms, 5m.")
@click.option("--grace", metavar="SECONDS", help="How long handlers may go on after SIGTERM: 25 seconds, if not said.")
@click.option("--health", metavar="[HOST:]PORT", help="Serve /livez, /readyz and /metrics; on 127.0.0.1, if not said.")
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker processes to run.")
@click.option("--supervised", is_flag=True, hidden=True, help="Drain when standard input ends.")
@config_option
@click.option("--log-format", metavar="json|console", help="How events are written: console on a terminal, else json.")
@click.option("--log-level", metavar="LEVEL", help="Least level of events written: debug, info, warning or error.")
def run(
    paths: tuple[str, ...], config: Path | None, processes: int, *, supervised: bool, **options: str | None
) -> None:
    """Consume until told to stop.

    SIGTERM and SIGINT let what is under way end, checkpoint, and give the shards back.

    \b
    streamkit run consumers.flights:flights
    streamkit run consumers.flights:flights consumers.weather:weather --config streamkit.toml
    streamkit run consumers.flights:flights --until-idle 30
    streamkit run consumers.flights:flights --processes 4 --health 8080

    Start as many workers as you like: they share the shards. Events go to standard error (`streamkit events` lists
    them). Settings come from the code, a TOML file and STREAMKIT_ variables; AWS settings are the SDK's own.

    Exit status: 0 after an orderly stop, 2 for something you have to correct, 70 for a handler that could not be
    stopped, 130 at the second interrupt, 1 for anything else, an event loop that stood still included.
    """
    plan = configured(paths, config=config, options=options)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        if processes > 1:
            sys.exit(runner.run(_supervise(plan, processes)))
        runner.run(_run(plan, wards(plan.consumers, paths, config), supervised=supervised))


async def _supervise(plan: Configured, processes: int) -> int:
    """Run the same command in several processes of its own; return the exit status."""
    from streamkit.clock import SystemChance, SystemClock
    from streamkit.runtimes.health.gathering import Gathering
    from streamkit.runtimes.supervisor import Supervisor

    clock = SystemClock()
    itself = [sys.executable, "-m", "streamkit", *sys.argv[1:], "--processes", "1", "--supervised"]
    report = _reporter(plan, clock)
    health = Gathering(plan.worker.health, processes=processes) if plan.worker.health else None
    supervisor = Supervisor(
        lambda slot: [*itself, *(health.options(slot) if health else ())],
        processes=processes,
        clock=clock,
        chance=SystemChance(),
        report=report,
    )
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, supervisor.drain)
    async with health.serving(report) if health else nullcontext():
        return await supervisor.run()


async def _run(plan: Configured, ward: Callable[[Consumer], Ward | None] = lambda _: None, *, supervised: bool) -> None:
    from streamkit.aws.world import AwsWorld
    from streamkit.clock import SystemChance, SystemClock
    from streamkit.runtimes.watchdog import limit_of, watched
    from streamkit.runtimes.worker import Options, Worker

    clock, chance = SystemClock(), SystemChance()
    worker = Worker(
        plan.consumers,
        AwsWorld(clock=clock, chance=chance),
        clock=clock,
        chance=chance,
        report=_reporter(plan, clock),
        options=Options(
            until_idle=plan.worker.until_idle,
            grace=plan.worker.grace,
            health=plan.worker.health,
            emit_every=plan.worker.metrics_interval if plan.worker.metrics else None,
            ward=ward,
        ),
    )
    _heed_signals(worker)
    if supervised:
        _heed_supervisor(worker)
    async with watched(limit_of(plan.consumers)):
        await worker.run()


def _reporter(plan: Configured, clock: Clock) -> Report:
    from streamkit.logs import reporter

    terminal = sys.stderr.isatty()
    return reporter(
        plan.worker.log_format or ("console" if terminal else "json"),
        plan.worker.log_level,
        clock=clock,
        stream=sys.stderr,
        colours=terminal and not os.environ.get("NO_COLOR"),
    )


def _heed_signals(worker: Worker) -> None:
    """Drain at SIGTERM and SIGINT; exit at once at the second SIGINT."""
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            os._exit(_INTERRUPTED)
        worker.drain("SIGINT")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, worker.drain, "SIGTERM")


def _heed_supervisor(worker: Worker) -> None:
    """Drain when the supervisor is gone, which its end of the pipe tells even if it was killed."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin)
            worker.drain("the supervisor ended")

    loop.add_reader(sys.stdin, ended)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it is installed."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory
