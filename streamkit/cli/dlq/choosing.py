"""Which queue, and which of its letters: the arguments that the commands over dead letters share."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from streamkit.clock import SystemClock
from streamkit.consumer import Sqs
from streamkit.core.letters import Condition
from streamkit.core.sorting import Wanted
from streamkit.errors import ConfigurationError
from streamkit.runtimes.redrive_terms import MAX_LETTERS
from streamkit.settings import YEAR, Duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamkit.consumer import Consumer

F = TypeVar("F", bound="Callable[..., Any]")

_NUMBER = re.compile(r"[0-9]{1,12}")
_AGE = Duration(timedelta(), YEAR)
_EXPECTED = "expected an age such as 90m, 2h, 3d, or a moment such as 2026-01-31T12:00Z"


def moment(text: str) -> float | None:
    """Return a moment, or an age before now, as seconds since the epoch; None if it is neither."""
    try:
        age = _AGE.read(text)
    except ValueError:
        pass
    else:
        return SystemClock().now().timestamp() - (age or timedelta()).total_seconds()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = moment(value)
    if found is None:
        raise click.BadParameter(f"{_EXPECTED}, got {value!r}.", ctx, param)
    return found


_FILTERS = (
    click.option("--reason", metavar="TEXT", help="With this in their reason."),
    click.option("--condition", type=click.Choice(get_args(Condition)), help="Given up for this."),
    click.option("--shard", metavar="ID", help="Of this shard."),
    click.option("--key", metavar="KEY", help="Of this partition key, or its digest as `list` shows it."),
    click.option("--letter", metavar="HANDLE", help="The one of this handle, or of its beginning."),
    click.option("--since", callback=_moment, metavar="WHEN", help="Given up since: 2h, or 2026-01-31T12:00Z."),
    click.option("--until", callback=_moment, metavar="WHEN", help="Given up before."),
)


def limit_option(default: int = MAX_LETTERS) -> Callable[[F], F]:
    """Return the option that bounds how many letters are held at once."""
    return click.option(
        "--limit",
        type=click.IntRange(1, 120_000),
        default=default,
        show_default=True,
        help="Letters taken at once, payloads in memory.",
    )


def told(number: int) -> None:
    """Say how far a gathering is, on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\rlooking through the queue: {number:,} letters\033[K", nl=False, err=True)


def told_all() -> None:
    """Take back what `told` said."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def filters(command: F) -> F:
    """Add the options that say which letters are meant."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def wanted(options: dict[str, Any]) -> Wanted:
    """Return what the filters say."""
    said = {name: options.get(name) for name in Wanted.__struct_fields__}
    shard = said["shard"]
    if shard is not None and _NUMBER.fullmatch(shard):
        said["shard"] = f"shardId-{int(shard):012}"
    return Wanted(**said)


queue_option = click.option(
    "--queue", metavar="NAME", help="A queue by name, URL or ARN, where the code is not at hand."
)


def the_queue(path: str | None, queue: str | None, config: Path | None) -> Sqs:
    """Return the queue, with its bucket if it is a consumer's.

    Raises `ConfigurationError`; click's error if none was named.
    """
    if (path is None) == (queue is None):
        raise click.UsageError("Name a consumer (MODULE:CONSUMER), or a queue (--queue NAME).")
    return Sqs(queue) if queue is not None else queue_of(the_consumer(path or "", config))


def the_consumer(path: str, config: Path | None) -> Consumer:
    """Load one consumer."""
    from streamkit.cli.loading import configured

    return configured([path], config=config).consumers[0]


def queue_of(consumer: Consumer) -> Sqs:
    """Return the queue of a consumer. Raises `ConfigurationError` if it has none."""
    if consumer.dead_letters is None:
        raise ConfigurationError(
            f"consumer {consumer.name}: expected dead_letters=Sqs(...), got none: it has no letters"
        )
    return consumer.dead_letters
