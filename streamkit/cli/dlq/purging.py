"""`streamkit dlq purge`: throw letters away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamkit.cli.dlq.choosing import filters, limit_option, queue_option, the_queue, told, told_all, wanted
from streamkit.cli.figures import many
from streamkit.cli.loading import config_option
from streamkit.cli.subjects import hear
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.kept import Lost
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from streamkit.consumer import Sqs
    from streamkit.core.letters import Letter
    from streamkit.core.sorting import Wanted
    from streamkit.ports import Payloads
    from streamkit.runtimes.grip import Grip
    from streamkit.runtimes.stack import Stack

_ROUNDS = 10_000


@click.command()
@click.argument("path", required=False, metavar="[MODULE:CONSUMER]")
@queue_option
@filters
@limit_option()
@click.option("--all", "everything", is_flag=True, help="All of them: there is no filter.")
@click.option("--keep", type=click.Path(path_type=Path), help="Write them to this file first, a JSON document a line.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def purge(path: str | None, queue: str | None, config: Path | None, limit: int, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Delete dead letters for good: their records are lost then.

    \b
    streamkit dlq purge consumers.flights:flights --reason "no arrival delay" --keep letters.ndjson
    streamkit dlq purge --queue flights-dlq --all --yes

    What is deleted is what was seen and counted: a letter that comes meanwhile stays. Payloads in a bucket are left to
    its own rules, and --keep writes them with their letters. Keys stay parked until the next
    `streamkit dlq redrive`.
    """
    want = wanted(options)
    if want.all != options["everything"]:
        raise click.UsageError("Say which letters, by a filter such as --reason; or --all, and no filter.")
    at = the_queue(path, queue, config)
    keep = options["keep"]
    if keep is not None and keep.exists():
        raise ConfigurationError(f"--keep: expected a file that is not there yet, got {keep}")
    deleted = asyncio.run(_purge(at, want, most=limit, keep=keep, ask=not options["yes"], dry=options["dry_run"]))
    click.echo(f"queue {at.queue}: {many(deleted, 'letter')} deleted{' (--dry-run)' if options['dry_run'] else ''}")


async def _purge(at: Sqs, want: Wanted, *, most: int, keep: Path | None, ask: bool, dry: bool) -> int:
    from streamkit.aws.desk import letters
    from streamkit.runtimes.grip import Grip
    from streamkit.runtimes.stack import Stack

    deleted = 0
    async with letters(at, chance=SystemChance(), report=hear) as opened:
        grip, stack = Grip(opened.mailbox, clock=SystemClock()), Stack()
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(grip.keep_on())
                for _ in range(_ROUNDS):
                    await stack.gather(grip, most=most, told=told)
                    told_all()
                    found = [each for each in (*stack.letters.values(), *stack.omitted.values()) if want(each)]
                    if not found or not await _agreed(at.queue, found, ask=ask, dry=dry):
                        break
                    if keep is not None:
                        await _write(found, stack, keep, opened.payloads)
                    await _delete(found, grip, stack)
                    deleted += len(found)
                keeping.cancel()
        finally:
            await grip.let_go()
    return deleted


async def _agreed(name: str, found: list[Letter], *, ask: bool, dry: bool) -> bool:
    """Ask a person, in a thread: letters are kept out of sight meanwhile."""
    click.echo(f"queue {name}: {many(len(found), 'letter')} to delete")
    if dry or not ask:
        return not dry
    try:
        return await asyncio.to_thread(click.confirm, "Delete them for good?")
    except click.Abort:
        click.echo()
        raise ConfigurationError(
            "expected an answer, got none; nothing is deleted: say --yes where nobody is"
        ) from None


async def _write(found: list[Letter], stack: Stack, keep: Path, payloads: Payloads | None) -> None:
    """Write letters to a file, which has room for every payload. Raises `ConfigurationError` for one not to be had."""
    from streamkit.core.envelope import MAX_BODY, envelope
    from streamkit.runtimes.fetching import whole

    with keep.open("a", encoding="ascii") as file:
        for letter in found:
            bare = stack.elsewhere.get(letter.record.id)
            try:
                bodies = (
                    [held.body for held in stack.copies([letter])]
                    if bare is None
                    else [envelope(await whole(bare, payloads), limit_bytes=MAX_BODY).body]
                )
            except Lost as lost:
                raise ConfigurationError(f"--keep: {lost}; nothing of this round is deleted") from lost
            file.writelines(f"{each}\n" for each in bodies)


async def _delete(found: list[Letter], grip: Grip, stack: Stack) -> None:
    copies = stack.copies(found)
    await grip.delete(copies)
    for letter in found:
        stack.forget(letter)
