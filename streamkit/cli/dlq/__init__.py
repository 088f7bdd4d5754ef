"""`streamkit dlq`: look at dead letters, send them through the handler again, or throw them away."""

from __future__ import annotations

import click

from streamkit.cli.dlq.looking import list_letters, show
from streamkit.cli.dlq.purging import purge
from streamkit.cli.dlq.redriving import redrive


@click.group()
def dlq() -> None:
    """Look at dead letters, redrive or purge them.

    \b
    streamkit dlq list consumers.flights:flights                 how many, why, and of which keys
    streamkit dlq show consumers.flights:flights 3f9a            one of them, payload and traceback
    streamkit dlq redrive consumers.flights:flights --dry-run    what would run
    streamkit dlq redrive consumers.flights:flights
    streamkit dlq purge consumers.flights:flights --reason "no arrival delay" --keep letters.ndjson

    A queue shows a letter to one at a time: while one of these commands holds letters, others see fewer of them.
    """


for _command in (list_letters, show, redrive, purge):
    dlq.add_command(_command)
