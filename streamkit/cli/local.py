"""`streamkit local`: the embedded world in the foreground."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import click

from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from streamkit.testing.endpoint import Endpoint


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=4566, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Anyone who reaches it may do anything.")
@click.option(
    "--limits/--no-limits",
    default=False,
    show_default=True,
    help="Throttle shards as AWS does: 5 reads and 2 MiB, 1,000 records and 1 MiB written, a second.",
)
@click.option("--roll-seconds", type=click.FloatRange(min=1), default=14_400, help="Life of a shard of table changes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides what chance decides.")
@click.option("--while-stdin-open", is_flag=True, hidden=True)
def local(*, port: int, host: str, limits: bool, roll_seconds: float, seed: int, while_stdin_open: bool) -> None:
    """Serve Kinesis, DynamoDB and its streams, SQS and S3 on one address of this machine, until interrupted.

    Prints, as lines for a shell, the variables that lead every AWS SDK and the AWS command line there. Nothing is kept
    when it ends.

    \b
    streamkit local
    streamkit local --port 0 --limits
    """
    from streamkit.testing.endpoint import Endpoint
    from streamkit.testing.endpoint.moto import MISSING, is_installed
    from streamkit.testing.kinesis import AS_AWS, UNLIMITED

    if not is_installed():
        click.echo(f"streamkit: only Kinesis is served. {MISSING}", err=True)
    endpoint = Endpoint(
        host=host, port=port, limits=AS_AWS if limits else UNLIMITED, seed=seed, roll_seconds=roll_seconds
    )
    try:
        asyncio.run(_serve(endpoint, while_stdin_open=while_stdin_open))
    except OSError as taken:
        raise ConfigurationError(f"expected a free address, got {host}:{port}: {taken.strerror}") from taken


async def _serve(endpoint: Endpoint, *, while_stdin_open: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if while_stdin_open:
        loop.add_reader(sys.stdin, _watch, stopped)
    async with endpoint:
        exports = [f"export {name}={shlex.quote(value)}\n" for name, value in endpoint.environment.items()]
        click.echo("".join(exports))
        await stopped.wait()


def _watch(stopped: asyncio.Event) -> None:
    """Stop when whoever started us is gone and the pipe with it."""
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin)
        stopped.set()
