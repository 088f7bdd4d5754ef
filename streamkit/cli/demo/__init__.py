"""`streamkit demo`: the whole job on real data with a worker killed half-way, and a look at what came of it."""

from __future__ import annotations

import asyncio

import click

_TERMINATED = 143


@click.command()
@click.option("--flights", type=click.IntRange(min=400), metavar="NUMBER", help="How many flights to put: all of them.")
def demo(*, flights: int | None) -> int:
    """Consume a week of real departures with two workers, kill one half-way, and check that nothing went missing.

    Starts an embedded world of Kinesis, DynamoDB and SQS on a free port of this machine, and needs no account. The
    producer repeats batches and corrupts payloads on purpose. All figures shown are read from the tables, the queue,
    the stream and the file; exit status 1 says that they do not add up.

    Runs in a checkout of the repository, where consumers/flights.py and its data are.
    """
    from streamkit.cli.demo.play import play

    try:
        return asyncio.run(play(flights=flights))
    except asyncio.CancelledError:
        return _TERMINATED
