"""`streamkit top`: how a consumer is doing, live."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from streamkit.cli.loading import config_option
from streamkit.cli.subjects import optional_consumers, table_option, watched
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@optional_consumers
@table_option
@click.option("--every", type=click.FloatRange(0.5), default=2.0, show_default=True, metavar="SECONDS")
@click.option("--sort", type=click.Choice(["shard", "lag", "rate", "state"]), default="shard", show_default=True)
@config_option
def top(*, paths: tuple[str, ...], tables: tuple[str, ...], every: float, sort: str, config: Path | None) -> None:
    """Watch a consumer, live: the figures of `streamkit status`, with their course.

    \b
    streamkit top consumers.flights:flights
    streamkit top --table streamkit-flights --sort lag

    Keys: s sorts by the next column, up and down (or k and j) choose a shard, enter shows it in detail, q leaves.
    Works in 80 columns, and without colour (NO_COLOR). Needs the extra streamkit[cli].
    """
    subjects = watched(paths, tables, config)
    if len(subjects) != 1:
        raise click.UsageError("Name one consumer, or one table.")
    if not sys.stdout.isatty():
        raise ConfigurationError("expected a terminal, got none; `streamkit status --json` is for scripts")
    try:
        from streamkit.cli.top.live import watch
    except ModuleNotFoundError as missing:
        raise ConfigurationError("expected rich, got none: pip install 'streamkit[cli]'") from missing
    asyncio.run(watch(subjects[0], every=every, sort=sort))
