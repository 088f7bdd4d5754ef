"""Redrive: dead letters take effect once, in order, by the consumer's own rules, whatever interrupts (rule 30)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from streamkit import Kinesis, Poison, Record, Retry, Sqs, consumer
from streamkit.core.ledger import Claimant
from streamkit.core.letters import Condition, Letter
from streamkit.core.sorting import Wanted, handle
from streamkit.errors import ConfigurationError, Unanswered
from streamkit.ports import Payloads
from streamkit.runtimes.redrive import Redrive
from streamkit.runtimes.redrive_terms import Options, Result, Tools
from streamkit.testing import (
    MemoryLedger,
    MemoryMailbox,
    MemoryRedriven,
    MemorySuccesses,
    SeededChance,
    VirtualClock,
    run_virtual,
)
from streamkit.testing.builders import letter, record

Handler = Callable[[Record], Awaitable[None]]
_SEEDS = count()


class Scene:
    """A queue of dead letters, and a consumer that notes what it handles."""

    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.mailbox = MemoryMailbox(self.clock)
        self.redriven = MemoryRedriven(self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.successes = MemorySuccesses()
        self.payloads: Payloads | None = None
        self.effects: list[Record] = []
        self.handler: Handler | None = None
        self._settings: dict[str, Any] = {"retry": Retry(attempts=2, initial=timedelta(seconds=1)), **settings}

    @property
    def values(self) -> list[int]:
        """The payloads handled."""
        return [each.json() for each in self.effects]

    def put(
        self, *values: int, keys: int = 100, condition: Condition = "Poison", shard: str = "shard-1"
    ) -> Sequence[Letter]:
        """Put letters, each under one of a few keys; the queue gives them out the wrong way round."""
        letters = [
            letter(
                record(value, key=f"key-{value % keys}", sequence=value + 1, shard=shard, arrived=1e9 + value),
                condition=condition if value >= keys or condition != "Parked" else "Poison",
            )
            for value in values
        ]
        self.mailbox.put(*letters)
        return letters

    def redrive(self, **options: Any) -> Redrive:
        """Make a run."""

        async def note(each: Record) -> None:
            if self.handler is not None:
                await self.handler(each)
            self.effects.append(each)

        made = consumer("consumer", source=Kinesis("stream"), dead_letters=Sqs("dead"), **self._settings)(note)
        tools = Tools(
            mailbox=self.mailbox,
            redriven=self.redriven,
            ledger=self.ledger,
            clock=self.clock,
            chance=SeededChance(seed=next(_SEEDS)),
            report=lambda _: None,
            on_stuck=lambda: None,
            successes=self.successes,
            payloads=self.payloads,
        )
        return Redrive(made, tools, Options(**options))

    async def run(self, **options: Any) -> Result:
        """Run to the end; nothing is held afterwards."""
        return await self.redrive(**options).run()


def test_a_letter_that_takes_effect_is_told_of_before_it_is_deleted() -> None:
    """To the consumer's destination for successes, as redriven; one that fails again is not."""

    async def main() -> None:
        scene = Scene(on_success=Sqs("done"))
        letters = scene.put(1, 2, 3)

        async def handler(each: Record) -> None:
            if each.json() == 2:
                raise Poison("two")

        scene.handler = handler
        scene.successes.outage = True
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.run())
            await asyncio.sleep(20)
            assert len(scene.mailbox.bodies) == 3
            scene.successes.outage = False
        told = [success.record for success in scene.successes.successes]
        assert sorted((each.json(), each.redriven) for each in told) == [(1, True), (3, True)]
        assert [success.stream_arn for success in scene.successes.successes] == [letters[0].stream_arn] * 2

    run_virtual(main)


def test_letters_are_handled_in_stream_order_flagged_and_deleted() -> None:
    """Whatever the order in which the queue gives them out; two copies of a letter are one."""

    async def main() -> None:
        scene = Scene()
        scene.put(*range(30), keys=3)
        scene.put(4, keys=3)
        result = await scene.run()
        assert (result.handled, result.stayed, result.left, result.complete) == (30, Counter(), 0, True)
        assert sorted(scene.values) == list(range(30))
        for key in range(3):
            assert [value for value in scene.values if value % 3 == key] == list(range(key, 30, 3))
        assert all(each.redriven and each.attempt == 1 for each in scene.effects)
        assert scene.mailbox.bodies == {}

    run_virtual(main)


def test_a_letter_that_fails_again_stays_as_it_is() -> None:
    """After its attempts; no second letter is sent, and others are not held back."""

    async def main() -> None:
        scene = Scene()
        attempts = Counter[int]()

        async def handle(each: Record) -> None:
            attempts[each.json()] += 1
            if each.json() == 7:
                raise Poison("still bad") if attempts[7] > 1 else OSError

        scene.handler = handle
        scene.put(*range(20))
        before = dict(scene.mailbox.bodies)
        result = await scene.run()
        assert (result.handled, result.stayed) == (19, Counter({"still bad": 1}))
        assert attempts[7] == 2
        assert scene.mailbox.bodies.items() <= before.items()
        assert len(scene.mailbox.bodies) == 1
        assert len(await scene.mailbox.take(10)) == 1, "it is in sight again"

    run_virtual(main)


def test_whatever_interrupts_a_redrive_the_next_one_repeats_no_effect_that_was_noted() -> None:
    """Cancelled after every number of steps; then run to the end. Deleted is only what took effect."""

    async def main() -> None:
        for steps in range(0, 400, 3):
            scene = Scene(concurrency=2)
            scene.put(*range(12), keys=4)
            first = asyncio.get_running_loop().create_task(scene.run())
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            with suppress(asyncio.CancelledError, ExceptionGroup):
                await first
            noted = {identity.split(":")[2] for identity in scene.redriven.effects}
            assert len(scene.mailbox.bodies) >= 12 - len(noted)
            before = len(scene.effects)
            await asyncio.sleep(200)
            await scene.run()
            assert sorted(set(scene.values)) == list(range(12))
            assert noted.isdisjoint(each.sequence_number for each in scene.effects[before:])
            assert len(scene.effects) <= 12 + 2, "at most what was under way is repeated"
            assert scene.mailbox.bodies == {}

    run_virtual(main)


def test_a_letter_whose_deletion_was_lost_is_deleted_by_the_next_run_without_effect() -> None:
    """The ledger knows it."""

    async def main() -> None:
        scene = Scene()
        letters = scene.put(*range(5))
        await scene.run()
        scene.mailbox.put(*letters)
        result = await scene.run()
        assert (result.handled, result.dropped) == (0, 5)
        assert sorted(scene.values) == list(range(5))
        assert scene.mailbox.bodies == {}

    run_virtual(main)


@pytest.mark.parametrize("seconds", [1, 4, 5, 8, 10, 14, 20])
def test_two_redrives_at_once_do_not_do_the_same_twice(seconds: int) -> None:
    """Each has copies of the same letters: what one is at, the other leaves alone, and a third finds it done.

    Whether a copy that one of them put back is seen by the other depends on who ends first; either way each letter has
    left the queue, and was counted, or is in it.
    """

    async def main() -> None:
        scene = Scene(concurrency=1)

        async def slowly(_: Record) -> None:
            await asyncio.sleep(3)

        scene.handler = slowly
        letters = scene.put(*range(5))
        running = asyncio.get_running_loop().create_task(scene.run())
        await asyncio.sleep(seconds)
        scene.mailbox.put(*letters)
        second = await scene.run()
        first = await running
        stayed = len(scene.mailbox.bodies)
        assert sorted(scene.values) == list(range(5))
        assert first.handled + second.handled == 5
        assert first.settled + second.settled + stayed == 10
        assert stayed <= sum(first.stayed.values()) + sum(second.stayed.values())
        third = await scene.run()
        assert (third.handled, sum(third.stayed.values()), scene.mailbox.bodies) == (0, 0, {})

    run_virtual(main)


def test_parked_letters_follow_the_first_of_their_key_and_never_go_before_it() -> None:
    """Over a reshard, too; if the first fails again, those behind it stay."""

    async def main() -> None:
        scene = Scene(on_dead_letter="park")

        async def handle(each: Record) -> None:
            if each.json() == 1:
                raise Poison("still bad")

        scene.handler = handle
        scene.put(*range(100, 110), keys=2, condition="Parked", shard="a-child")
        scene.put(*range(10), keys=2, condition="Parked", shard="b-parent")
        result = await scene.run()
        assert [value for value in scene.values if value % 2 == 0] == [*range(0, 10, 2), *range(100, 110, 2)]
        assert [value for value in scene.values if value % 2] == []
        assert sum(result.stayed.values()) == 10
        assert len(result.remaining) == 1

    run_virtual(main)


def test_a_filter_does_not_let_parked_letters_overtake() -> None:
    """Wanted or not: their first letter stays, so they do."""

    async def main() -> None:
        scene = Scene(on_dead_letter="park")
        scene.put(*range(10), keys=2, condition="Parked")
        result = await scene.run(wanted=Wanted(condition="Parked"))
        assert (scene.values, result.left) == ([], 10)
        result = await scene.run(wanted=Wanted(key="key-1"))
        assert scene.values == [1, 3, 5, 7, 9]
        assert result.left == 5

    run_virtual(main)


def test_parked_letters_that_cannot_all_be_gathered_are_left_alone() -> None:
    """Their order could not be known."""

    async def main() -> None:
        scene = Scene(on_dead_letter="park")
        scene.put(*range(30), keys=2, condition="Parked")
        with pytest.raises(ExceptionGroup) as refused:
            await scene.run(most=20)
        assert "raise --limit" in str(refused.value.exceptions[0])
        assert isinstance(refused.value.exceptions[0], ConfigurationError)
        assert scene.values == []
        assert sum([len(await scene.mailbox.take(10)) for _ in range(4)]) == 30

    run_virtual(main)


def test_when_everything_fails_the_redrive_stops_and_every_letter_stays() -> None:
    """An outage is not the letters' fault; whoever is down is spared."""

    async def main() -> None:
        scene = Scene()

        async def down(_: Record) -> None:
            raise OSError

        scene.handler = down
        scene.put(*range(40))
        began = scene.clock.monotonic()
        result = await scene.run()
        assert (result.stopped or "").startswith("everything fails: OSError at test_redrive.py:")
        assert len(scene.mailbox.bodies) == 40
        assert sum(result.stayed.values()) == 40
        assert 30 <= scene.clock.monotonic() - began <= 100

    run_virtual(main)


def test_letters_stay_out_of_sight_for_as_long_as_they_are_worked_on() -> None:
    """Many times the queue's own time-out."""

    async def main() -> None:
        scene = Scene(handler_timeout=timedelta(minutes=10))

        async def slowly(_: Record) -> None:
            await asyncio.sleep(500)

        scene.handler = slowly
        scene.put(*range(3))
        running = asyncio.get_running_loop().create_task(scene.run())
        await asyncio.sleep(5)
        for _ in range(80):
            assert list(await scene.mailbox.take(10)) == []
            await asyncio.sleep(5)
        assert (await running).handled == 3

    run_virtual(main)


def test_a_queue_that_does_not_answer_stops_the_redrive_before_others_may_have_its_letters() -> None:
    """As a worker without heartbeats: nothing starts any more."""

    async def main() -> None:
        scene = Scene(concurrency=1)

        async def slowly(each: Record) -> None:
            await asyncio.sleep(20)
            if each.json() == 0:
                scene.mailbox.outage = Unanswered("the queue is down")

        scene.handler = slowly
        scene.put(*range(10))
        running = asyncio.get_running_loop().create_task(scene.run())
        await asyncio.sleep(90)
        assert len(scene.values) <= 3
        scene.mailbox.outage = None
        result = await running
        assert "in sight of others" in (result.stopped or "")

    run_virtual(main)


def test_a_rate_is_kept_to() -> None:
    """So many records a second at most."""

    async def main() -> None:
        scene = Scene()
        scene.put(*range(20))
        began = scene.clock.monotonic()
        result = await scene.run(rate=2.0)
        assert result.handled == 20
        assert 9.0 <= scene.clock.monotonic() - began <= 16.0

    run_virtual(main)


def test_a_business_key_counts_in_a_redrive() -> None:
    """The same event under another record has been handled: its letter goes, without effect."""

    async def main() -> None:
        scene = Scene(dedupe_key=lambda each: each.text())
        scene.put(1, 2)
        await scene.ledger.claim("1", Claimant("another record"))
        result = await scene.run()
        assert (scene.values, result.handled, result.dropped) == ([2], 1, 1)
        assert scene.mailbox.bodies == {}

    run_virtual(main)


def test_a_missing_key_is_poison_in_a_redrive_too() -> None:
    """As in the worker: its letter stays, and nothing is claimed under an empty name."""

    async def main() -> None:
        scene = Scene(dedupe_key=lambda each: each.text() if each.text() != "1" else "")
        scene.put(1, 2)
        result = await scene.run()
        assert (scene.values, result.handled) == ([2], 1)
        assert len(scene.mailbox.bodies) == 1
        assert list(scene.ledger.held) == ["2"]

    run_virtual(main)


def test_letters_of_others_and_what_is_no_letter_are_left_alone() -> None:
    """A queue may be shared."""

    async def main() -> None:
        scene = Scene()
        [mine] = scene.put(1)
        scene.mailbox.bodies |= {"text": "no letter", "of another": next(iter(scene.mailbox.bodies.values()))}
        scene.mailbox.bodies["of another"] = (
            (
                scene.mailbox.bodies["of another"]
                .replace('"consumer"', '"consumer-2"', 1)
                .replace('"consumer":"consumer"', '"consumer":"other"')
            )
            .replace(mine.record.id, "another:1:2:0")
            .replace('"sequenceNumber":"2"', '"sequenceNumber":"9"')
        )
        result = await scene.run()
        assert scene.values == [1]
        assert result.left == 2
        assert not result.complete, "nobody knows whose the unreadable one is"
        assert len(scene.mailbox.bodies) == 2

    run_virtual(main)


def test_a_preview_shows_what_would_run_and_changes_nothing() -> None:
    """All of it is in sight again."""

    async def main() -> None:
        scene = Scene()
        letters = scene.put(*range(15))
        found = await scene.redrive(wanted=Wanted(letter=handle(letters[3])[:8])).preview()
        assert [each.record.json() for each in found] == [3]
        assert [each.record.json() for each in await scene.redrive().preview()] == list(range(15))
        assert scene.values == []
        assert len([*await scene.mailbox.take(10), *await scene.mailbox.take(10)]) == 15

    run_virtual(main)


@pytest.mark.parametrize("on_dead_letter", ["continue", "halt"])
def test_what_follows_a_failure_is_the_consumers_own_rule(on_dead_letter: str) -> None:
    """`halt` stops the redrive; `continue` goes on with the key."""

    async def main() -> None:
        scene = Scene(on_dead_letter=on_dead_letter, concurrency=1)

        async def handle(each: Record) -> None:
            if each.json() == 2:
                raise Poison("still bad")

        scene.handler = handle
        scene.put(*range(6), keys=1)
        result = await scene.run()
        halts = on_dead_letter == "halt"
        assert scene.values == ([0, 1] if halts else [0, 1, 3, 4, 5])
        assert bool(result.stopped) is halts

    run_virtual(main)
