"""`streamkit dlq list` and `streamkit dlq show`: what is in the queue. Everything looked at is put back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streamkit.cli.dlq.choosing import filters, limit_option, queue_option, the_queue, told, told_all, wanted
from streamkit.cli.figures import columns, many, short, span
from streamkit.cli.loading import config_option
from streamkit.cli.subjects import hear
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.kept import Lost
from streamkit.core.settlement import digest
from streamkit.core.sorting import Wanted, counted, handle, in_order, keys
from streamkit.errors import ConfigurationError, WorldError
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from pathlib import Path

    from streamkit.consumer import Sqs
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.ports import Payloads
    from streamkit.runtimes.stack import Stack

_MANY = 10
_LETTERS = 20
_REASON = 34
"""Characters that are left of 80."""
_PAYLOAD = 4096
"""Bytes of a payload shown; --raw writes all of it."""


class Seen(msgspec.Struct, frozen=True):
    """What was seen of a queue."""

    queue: str
    about: int
    """How many the queue says there are."""
    stack: Stack
    letters: list[Letter]
    """Those that are meant, in order; without a payload where it was too large for the queue."""


async def seen(queue: Sqs, want: Wanted, *, most: int, payload: bool = False) -> Seen:
    """Look through a queue, and put everything back; `payload` fetches that of the one letter that is meant."""
    from streamkit.aws.desk import letters
    from streamkit.runtimes.grip import Grip
    from streamkit.runtimes.stack import Stack

    async with letters(queue, chance=SystemChance(), report=hear) as opened:
        about = await opened.queue.waiting()
        grip, stack = Grip(opened.mailbox, clock=SystemClock()), Stack()
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(grip.keep_on())
                await stack.gather(grip, most=most, told=told)
                told_all()
                keeping.cancel()
        finally:
            await grip.let_go()
        every = [*stack.letters.values(), *stack.omitted.values()]
        found = [letter for shard in in_order(every) for letter in shard if want(letter)]
        if payload and len(found) == 1:
            found = [await _fetched(found[0], stack, opened.payloads)]
    return Seen(queue.queue, about, stack, found)


async def _fetched(letter: Letter, stack: Stack, payloads: Payloads | None) -> Letter:
    """Return the letter with its payload, if it is to be had; what keeps it is told on standard error."""
    from streamkit.runtimes.fetching import whole

    bare = stack.elsewhere.get(letter.record.id)
    if bare is None:
        return letter
    try:
        found = await whole(bare, payloads)
    except (Lost, WorldError) as error:
        click.echo(str(error), err=True)
        return letter
    del stack.elsewhere[letter.record.id]
    return found


@click.command("list")
@click.argument("path", required=False, metavar="[MODULE:CONSUMER]")
@queue_option
@filters
@limit_option(1_000)
@click.option("--payload", is_flag=True, help="With --json: keys and payloads, too. They may hold anybody's data.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@config_option
def list_letters(path: str | None, queue: str | None, config: Path | None, limit: int, **options: Any) -> None:  # noqa: ANN401 - click's options
    """List dead letters: how many, why, and of which keys.

    Keys are shown as digests, payloads not at all.

    \b
    streamkit dlq list consumers.flights:flights
    streamkit dlq list consumers.flights:flights --condition Poison --since 2h
    streamkit dlq list --queue flights-dlq --json | jq .reasons

    A FIFO queue shows ten letters of a key at a time.
    """
    found = asyncio.run(seen(the_queue(path, queue, config), wanted(options), most=limit))
    if options["as_json"]:
        click.echo(json.dumps(_document(found, payload=options["payload"]), indent=2))
    else:
        click.echo("\n".join(_page(found)))


@click.command()
@click.argument("names", nargs=-1, metavar="[MODULE:CONSUMER] HANDLE")
@queue_option
@limit_option(1_000)
@click.option("--raw", is_flag=True, help="Nothing but the payload, to the byte as it was put.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@config_option
def show(names: tuple[str, ...], queue: str | None, config: Path | None, limit: int, **options: bool) -> None:
    """Show one letter: payload, key, exception and traceback.

    HANDLE is what `list` calls it, or the beginning of that.

    \b
    streamkit dlq show consumers.flights:flights 3f9a51
    streamkit dlq show --queue flights-dlq 3f9a51 --raw > payload.bin
    """
    *path, letter = names if 1 <= len(names) <= 2 else [*names, ""]  # noqa: PLR2004 - the consumer is optional
    if not letter or len(path) > 1 or (not path and queue is None):
        raise click.UsageError(
            "Name one letter by its handle (`streamkit dlq list` shows them), after the consumer or with --queue NAME."
        )
    at = the_queue(path[0] if path else None, queue, config)
    found = asyncio.run(seen(at, Wanted(letter=letter), most=limit, payload=True))
    one = _the_one(found, letter)
    if options["raw"]:
        if one.record.id in found.stack.omitted or one.record.id in found.stack.elsewhere:
            raise ConfigurationError(f"letter {handle(one)}: expected its payload, got none: {_where(found, one)}")
        sys.stdout.buffer.write(one.record.data)
    elif options["as_json"]:
        click.echo(json.dumps(_entry(found, one, payload=True), indent=2))
    else:
        click.echo("\n".join(_sheet(found, one)))


def _the_one(found: Seen, named: str) -> Letter:
    if len(found.letters) == 1:
        return found.letters[0]
    if found.letters:
        names = ", ".join(handle(each) for each in found.letters[:5])
        raise ConfigurationError(f"expected the beginning of one handle, got {named!r}, that of {names}")
    seen_all = "" if found.stack.complete else f"; only {len(found.stack)} letters were looked at, raise --limit"
    raise ConfigurationError(f"queue {found.queue}: expected the handle of a letter, got {named!r}{seen_all}")


# What a person reads


def _page(found: Seen) -> list[str]:
    letters, stack = found.letters, found.stack
    lines = [f"{click.style(found.queue, bold=True)}  about {many(found.about, 'letter')}, {len(letters):,} shown here"]
    if not stack.complete:
        lines.append(f"only {len(stack):,} were looked at (--limit)")
    if stack.unreadable:
        lines.append(f"{stack.unreadable:,} messages are no dead letters of streamkit")
    if not letters:
        return lines
    reasons = [(f"{number:,}", condition, _clip(reason, 46)) for number, condition, reason in counted(letters)]
    lines += ["", *columns(("LETTERS", "CONDITION", "REASON"), reasons[:_MANY], left=(1, 2))]
    lines += [f"and {many(len(reasons) - _MANY, 'more reason')}"] if len(reasons) > _MANY else []
    of_keys = [(f"{number:,}", name) for number, name in keys(letters)]
    lines += ["", *columns(("LETTERS", "KEY (digest)"), of_keys[:_MANY], left=(1,))]
    lines += [f"and {many(len(of_keys) - _MANY, 'more key')}"] if len(of_keys) > _MANY else []
    now = SystemClock().now().timestamp()
    heads = ("LETTER", "AGE", "SHARD", "TRIES", "KEY (digest)", "REASON")
    lines += ["", *columns(heads, [_line(each, now) for each in letters[:_LETTERS]], left=(0, 4, 5))]
    return [*lines, *([f"and {many(len(letters) - _LETTERS, 'more letter')}"] if len(letters) > _LETTERS else [])]


def _line(letter: Letter, now: float) -> tuple[str, ...]:
    return (
        handle(letter),
        span(now - letter.condemned),
        short(letter.record.shard),
        str(letter.verdict.attempts),
        digest(letter.record.key),
        _clip(letter.reason, _REASON),
    )


def _clip(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _sheet(found: Seen, letter: Letter) -> list[str]:
    record, verdict, cause = letter.record, letter.verdict, letter.verdict.cause
    facts = {
        "letter": handle(letter),
        "record": record.id,
        "key": f"{record.key}  (digest {digest(record.key)})",
        "arrived": record.arrived_at.isoformat(timespec="milliseconds"),
        "given up": f"{_moment(letter.condemned)} by {letter.consumer} {letter.code_version}".rstrip(),
        "condition": f"{verdict.condition}, after {many(verdict.attempts, 'attempt')}",
        "reason": letter.reason,
    }
    lines = [f"{click.style(name, fg='cyan')}{' ' * (11 - len(name))}{text}" for name, text in facts.items()]
    if cause is not None:
        lines += ["", cause.traceback.rstrip() or f"{cause.type}: {cause.message}"]
    return [*lines, "", *([f"payload: {where}"] if (where := _where(found, letter)) else _payload(letter.record))]


def _where(found: Seen, letter: Letter) -> str | None:
    """Say where the payload is, if it is not at hand."""
    bare = found.stack.elsewhere.get(letter.record.id)
    if bare is not None:
        return f"not in the letter, it was too large for the queue: it is {bare.kept}"
    omitted = letter.record.id in found.stack.omitted
    return "not in the letter, it was too large for the queue" if omitted else None


def _payload(record: Record) -> list[str]:
    """Return the payload as it reads best: JSON, text, or hexadecimal digits."""
    head = f"payload, {len(record.data):,} bytes"
    try:
        body = record.body
    except Undecodable as fault:
        return [f"{head}, {fault.reason}:", record.data[:_PAYLOAD].hex(" ", 4)]
    with contextlib.suppress(ValueError):
        return [f"{head}, JSON:", json.dumps(json.loads(body), indent=2, ensure_ascii=False)[:_PAYLOAD]]
    try:
        return [f"{head}, text:", body[:_PAYLOAD].decode()]
    except UnicodeDecodeError:
        return [f"{head}:", body[:_PAYLOAD].hex(" ", 4)]


def _moment(epoch: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")


# What a script reads


def _document(found: Seen, *, payload: bool) -> dict[str, object]:
    return {
        "queue": found.queue,
        "about": found.about,
        "seen": len(found.stack),
        "complete": found.stack.complete,
        "unreadable": found.stack.unreadable,
        "reasons": [
            {"letters": number, "condition": condition, "reason": reason}
            for number, condition, reason in counted(found.letters)
        ],
        "keys": [{"letters": number, "key_digest": name} for number, name in keys(found.letters)],
        "letters": [_entry(found, each, payload=payload) for each in found.letters],
    }


def _entry(found: Seen, letter: Letter, *, payload: bool) -> dict[str, object]:
    record, verdict, cause = letter.record, letter.verdict, letter.verdict.cause
    entry: dict[str, object] = {
        "letter": handle(letter),
        "id": record.id,
        "consumer": letter.consumer,
        "shard": record.shard,
        "sequence_number": record.sequence_number,
        "key_digest": digest(record.key),
        "arrived": record.arrived,
        "condemned": letter.condemned,
        "condition": verdict.condition,
        "reason": letter.reason,
        "attempts": verdict.attempts,
        "exception": cause and cause.type,
    }
    if payload:
        bare = found.stack.elsewhere.get(record.id)
        data = None if _where(found, letter) else base64.b64encode(record.data).decode()
        entry |= {"key": record.key, "payload": data, "traceback": cause and cause.traceback}
        entry |= {"payload_at": str(bare.kept)} if bare else {}
    return entry
