"""One bad record among a hundred, in Lambda: what each way of handling a stream makes of it.

    make isolation

In `streamkit.testing.mapping`, the event source mapping in virtual time: the same figures on every machine. The handler
takes effect record by record and raises at the bad one. `--write` puts the tables into docs/isolation.md.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from streamkit import Kinesis, Poison, Record, Sqs, consumer
from streamkit.testing import World
from streamkit.testing.mapping import (
    EventSourceMapping,
    Handler,
    KinesisFeed,
    LambdaFunction,
    Terms,
    deployed,
    run_mapped,
)

RECORDS = 100
KEYS = 10
MIDDLE = 50
RETRIES = 2
PAGE = Path(__file__).resolve().parent.parent / "docs" / "isolation.md"
BEGIN, END = "<!-- figures: make isolation -->", "<!-- end of figures -->"

Effect = Callable[[int], None]
"""Takes effect for a number; raises for the bad one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to handle a stream in Lambda."""

    name: str
    terms: Terms
    function: Callable[[World, Effect], LambdaFunction]


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the hundred records."""

    invocations: int
    deliveries: int
    repeated: int
    never_run: int
    disorder: int
    letters: int
    buried_alive: int
    """Good records in the dead letters."""


def plain(_world: World, effect: Effect) -> LambdaFunction:
    """Handle one after the other and let the exception out."""

    def handler(event: dict[str, Any], _context: object) -> None:
        for number in numbers(event):
            effect(number)

    return LambdaFunction.of(handler)


def stopping(_world: World, effect: Effect) -> LambdaFunction:
    """Handle one after the other; report the first that fails, and stop there."""

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        for number, entry in zip(numbers(event), event["Records"], strict=True):
            try:
                effect(number)
            except Poison:
                return {"batchItemFailures": [{"itemIdentifier": entry["kinesis"]["sequenceNumber"]}]}
        return {"batchItemFailures": []}

    return LambdaFunction.of(handler)


def powertools(_world: World, effect: Effect) -> LambdaFunction:
    """Use Powertools' BatchProcessor as its documentation shows it."""
    return LambdaFunction(lambda: _powertools(effect))


def _powertools(effect: Effect) -> Handler:
    from aws_lambda_powertools.utilities import batch

    kit: Any = batch  # typed in part only
    processor = kit.BatchProcessor(event_type=kit.EventType.KinesisDataStreams)

    def record_handler(record: Any) -> None:
        effect(json.loads(record.kinesis.data_as_text()))

    def handler(event: dict[str, Any], context: Any) -> object:
        return kit.process_partial_response(
            event=event, record_handler=record_handler, processor=processor, context=context
        )

    return handler


def streamkit(world: World, effect: Effect) -> LambdaFunction:
    """Use a consumer, deployed as our template deploys it."""

    @consumer("isolation", source=Kinesis("stream"), dead_letters=Sqs("dead"), partial_responses=True)
    async def handle(record: Record) -> None:
        effect(record.json())

    return deployed(handle, world)


SUBJECTS = (
    Subject("mapping alone", Terms(maximum_retry_attempts=RETRIES), plain),
    Subject(
        "mapping alone, bisecting", Terms(maximum_retry_attempts=RETRIES, bisect_batch_on_function_error=True), plain
    ),
    Subject(
        "partial responses by hand, stopping at the first failure",
        Terms(maximum_retry_attempts=RETRIES, report_batch_item_failures=True),
        stopping,
    ),
    Subject(
        "Powertools' BatchProcessor",
        Terms(maximum_retry_attempts=RETRIES, report_batch_item_failures=True),
        powertools,
    ),
    Subject(
        "Powertools' BatchProcessor, bisecting",
        Terms(maximum_retry_attempts=RETRIES, report_batch_item_failures=True, bisect_batch_on_function_error=True),
        powertools,
    ),
    Subject("streamkit", Terms(report_batch_item_failures=True), streamkit),
)


def numbers(event: dict[str, Any]) -> list[int]:
    """Return the payloads of an event."""
    return [json.loads(base64.b64decode(entry["kinesis"]["data"])) for entry in event["Records"]]


def isolate(subject: Subject, bad: int) -> Figures:
    """Deliver a hundred records, of which this one is bad."""
    effects: list[int] = []

    def effect(number: int) -> None:
        if number == bad:
            raise Poison("bad")
        effects.append(number)

    async def main() -> Figures:
        world = World()
        for number in range(RECORDS):
            world.stream.put(f"key-{number % KEYS}", number)
        function = subject.function(world, effect)
        async with EventSourceMapping(KinesisFeed(world.stream), function, subject.terms) as mapping:
            await mapping.settled()
        return _figures(mapping, world, effects)

    return run_mapped(main)


def _figures(mapping: EventSourceMapping, world: World, effects: Sequence[int]) -> Figures:
    times = Counter(effects)
    in_letters = sum(len(discard.records) for discard in mapping.given_up) + len(world.letters.letters)
    letters = len(mapping.discards) + len(world.letters.letters)
    return Figures(
        invocations=len(mapping.invocations),
        deliveries=mapping.deliveries.total(),
        repeated=len(effects) - len(times),
        never_run=RECORDS - 1 - len(times),
        disorder=sum(first > second for line in _by_key(effects) for first, second in pairwise(line)),
        letters=letters,
        buried_alive=in_letters - 1,
    )


def _by_key(effects: Sequence[int]) -> list[list[int]]:
    """Return the effects of each key, repeats included, in their order."""
    lines: dict[int, list[int]] = {}
    for number in effects:
        lines.setdefault(number % KEYS, []).append(number)
    return list(lines.values())


def table(rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return a Markdown table."""
    head = (
        "invocations",
        "records delivered",
        "effects repeated",
        "good records never run",
        "effects after a later one of their key",
        "dead letters",
        "good records in them",
    )
    lines = ["| |" + "|".join(f" {name} " for name in head) + "|", "|---|" + "--:|" * len(head)]
    lines += ["| " + " | ".join((name, *(f"{figure:.4g}" for figure in row))) + " |" for name, row in rows]
    return "\n".join(lines)


def report() -> str:
    """Run everything and return both tables."""
    middle = [(each.name, _row([isolate(each, MIDDLE)])) for each in SUBJECTS]
    anywhere = [(each.name, _row([isolate(each, bad) for bad in range(RECORDS)])) for each in SUBJECTS]
    return (
        f"Record {MIDDLE + 1} of {RECORDS} is bad:\n\n{table(middle)}\n\n"
        f"On average over a bad record at each of the {RECORDS} places:\n\n{table(anywhere)}"
    )


def _row(found: Sequence[Figures]) -> list[float]:
    names = Figures.__dataclass_fields__
    return [fmean(getattr(figures, name) for figures in found) for name in names]


def main() -> None:
    """Print the tables, or put them into their page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/isolation.md")
    figures = report()
    if not parser.parse_args().write:
        print(figures)
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
