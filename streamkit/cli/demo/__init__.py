"""`streamkit demo`: the whole job on real data with a worker killed half-way, and a look at what came of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import click

_FAILED = 1
_TERMINATED = 143


@click.command()
@click.option("--flights", type=click.IntRange(min=400), metavar="NUMBER", help="How many flights to put: all of them.")
@click.option("--changes", is_flag=True, help="Another play: keep a view of a DynamoDB table, by its changes.")
def demo(*, flights: int | None, changes: bool) -> int:
    """Consume a week of real departures with two workers, kill one half-way, and check that nothing went missing.

    Starts an embedded world of Kinesis, DynamoDB and SQS on a free port of this machine, and needs no account. The
    producer repeats batches and corrupts payloads on purpose. All figures shown are read from the tables, the queue,
    the stream and the file; exit status 1 says that they do not add up, and where the logs of the workers are.

    \b
    streamkit demo
    streamkit demo --changes --flights 1000

    With --changes, four writers insert, update and delete flights in a table while workers keep statistics by route
    and day from its stream; three of them are killed, and the view has to equal the table at the end.

    Runs in a checkout of the repository, where the consumers and their data are.
    """
    from streamkit.cli.demo.changes import play_changes
    from streamkit.cli.demo.play import play

    logs, status = Path(tempfile.mkdtemp(prefix="streamkit-demo-")), _TERMINATED
    try:
        status = asyncio.run((play_changes if changes else play)(flights=flights, logs=logs))
    except asyncio.CancelledError:
        pass
    finally:
        if status != _FAILED:
            shutil.rmtree(logs, ignore_errors=True)
    return status
