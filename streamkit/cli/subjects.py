"""Whom an operator's command is about: consumers by their code, or a table by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamkit.aws.desk import Subject
from streamkit.cli.figures import short
from streamkit.cli.loading import configured
from streamkit.errors import ConfigurationError
from streamkit.events import EndpointOverridden

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from streamkit.core.leasing import ShardRow
    from streamkit.events import Event

_LISTED = 8
"""Shards named to who named none of them."""

optional_consumers = click.argument("paths", nargs=-1, metavar="[MODULE:CONSUMER...]")
table_option = click.option(
    "--table", "tables", multiple=True, metavar="NAME", help="A checkpoint table, where the code is not at hand."
)


def hear(event: Event) -> None:
    """Say where requests go, if not to AWS itself: on standard error, which no script reads."""
    if isinstance(event, EndpointOverridden):
        click.echo(f"endpoint of {event.service}: {event.url}", err=True)


def watched(paths: Sequence[str], tables: Sequence[str], config: Path | None) -> list[Subject]:
    """Return what the command is about. Raises `ConfigurationError`; click's error if nothing was named."""
    if not paths and not tables:
        raise click.UsageError("Name a consumer (MODULE:CONSUMER) or a table (--table NAME).")
    consumers = configured(paths, config=config).consumers if paths else ()
    return [
        *(
            Subject(each.table, each.name, None if each.dead_letters is None else each.dead_letters.queue)
            for each in consumers
        ),
        *(Subject(each) for each in tables),
    ]


def the_shard(rows: Iterable[ShardRow], named: str) -> ShardRow:
    """Return the row of a shard named by id, or by its number. Raises `ConfigurationError` with those there are."""
    known = sorted(rows, key=lambda row: row.id)
    found = [row for row in known if named in {row.id, short(row.id)}]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(row.id for row in known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    raise ConfigurationError(f"--shard: expected one of {listed or 'none: no worker has started yet'}, got {named!r}")
