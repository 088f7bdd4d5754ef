"""Redrive of letters whose payloads are in a bucket: fetched when their turn comes, never guessed at (rules 29, 30)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from streamkit import Record
from streamkit.core.kept import Kept
from streamkit.core.letters import Condition, Letter
from streamkit.errors import Denied, Throttled, Unanswered
from streamkit.runtimes.grip import Grip
from streamkit.runtimes.stack import Stack
from streamkit.testing import MemoryPayloads, change, run_virtual
from streamkit.testing.builders import letter, record
from tests.runtimes.test_redrive import Scene

LIMIT = 16 * 1024
SIZE = 300_000


class CountingPayloads(MemoryPayloads):
    """Knows how many payloads were handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched = 0

    async def fetch(self, kept: Kept) -> bytes:
        """Count it."""
        payload = await super().fetch(kept)
        self.fetched += 1
        return payload


class LargeScene(Scene):
    """A queue whose letters are too large for it, but for every fifth."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.bucket = CountingPayloads()
        self.payloads = self.bucket

    def put_large(self, count: int, *, keys: int = 3, condition: Condition = "Poison") -> list[Letter]:
        """Put so many letters in, their payloads in the bucket."""
        letters = [
            letter(
                record(bytes([n]) * (10 if n % 5 == 4 else SIZE), key=f"key-{n % keys}", sequence=n + 1),
                condition=condition if n >= keys else "Poison",
            )
            for n in range(count)
        ]
        self.mailbox.put(*letters, bucket=self.bucket, limit_bytes=LIMIT)
        return letters

    @property
    def numbers(self) -> list[int]:
        """Which were handled, in order."""
        return [each.data[0] for each in self.effects]


def test_large_payloads_are_handled_to_the_byte_in_order_and_few_at_a_time() -> None:
    """With those that fit; what is fetched and not settled is bounded, as it is in a worker."""

    async def main() -> None:
        scene = LargeScene(read_ahead_bytes=2**20, concurrency=10)
        letters = scene.put_large(30)
        most = 0

        async def slowly(_: Record) -> None:
            nonlocal most
            await asyncio.sleep(1)
            most = max(most, scene.bucket.fetched - sum(len(each.data) == SIZE for each in scene.effects))

        scene.handler = slowly
        result = await scene.run()
        assert (result.handled, result.left, scene.mailbox.bodies) == (30, 0, {})
        assert {each.data for each in scene.effects} == {each.record.data for each in letters}
        for key in range(3):
            assert [n for n in scene.numbers if n % 3 == key] == list(range(key, 30, 3))
        assert 1 < most <= 2**20 // SIZE
        assert len(scene.bucket.objects) == 24, "a lifecycle rule of the bucket deletes them: copies may turn up late"

    run_virtual(main)


def test_a_change_over_the_limit_is_redriven_as_the_change_it_is() -> None:
    """Its id, by which effects are remembered, is in the JSON that was elsewhere."""

    async def main() -> None:
        scene = LargeScene()
        it = change({"id": "UA1"}, new={"id": "UA1", "text": "x" * SIZE})
        scene.mailbox.put(letter(it), letter(it), bucket=scene.bucket, limit_bytes=LIMIT)
        assert (await scene.run()).handled == 1
        [seen] = scene.effects
        assert (type(seen), seen.data, scene.redriven.effects) == (type(it), it.data, {it.id})
        assert scene.mailbox.bodies == {}

    run_virtual(main)


@pytest.mark.parametrize("trouble", ["missing", "another", "no bucket", "another bucket"])
def test_a_payload_that_is_not_to_be_had_leaves_its_letter_where_it_is(trouble: str) -> None:
    """It says why; other letters are handled, and once the payload is there, so is this one."""

    async def main() -> None:
        scene = LargeScene()
        letters = scene.put_large(6, keys=6)
        [name] = [name for name, data in scene.bucket.objects.items() if data == letters[2].record.data]
        match trouble:
            case "missing":
                del scene.bucket.objects[name]
            case "another":
                scene.bucket.objects[name] = bytes(SIZE)
            case "no bucket":
                scene.payloads = None
            case _:
                scene.payloads = MemoryPayloads("of-somebody-else")
        result = await scene.run()
        some = trouble in {"missing", "another"}
        assert sorted(scene.numbers) == ([0, 1, 3, 4, 5] if some else [4])
        assert all("s3://bucket/dead-letters/consumer/" in reason for reason in result.stayed)
        assert sum(result.stayed.values()) == len(scene.mailbox.bodies) == 6 - len(scene.numbers)
        scene.payloads = scene.bucket
        scene.bucket.objects[name] = letters[2].record.data
        await scene.run()
        assert (sorted(scene.numbers), scene.mailbox.bodies) == (list(range(6)), {})

    run_virtual(main)


def test_parked_letters_wait_for_a_first_one_whose_payload_is_lost() -> None:
    """As they wait for one that fails again: a later record of the key must not go first."""

    async def main() -> None:
        scene = LargeScene(on_dead_letter="park")
        letters = scene.put_large(8, keys=2, condition="Parked")
        for name in [name for name, data in scene.bucket.objects.items() if data == letters[0].record.data]:
            del scene.bucket.objects[name]
        result = await scene.run()
        assert scene.numbers == [1, 3, 5, 7]
        assert sum(result.stayed.values()) == len(scene.mailbox.bodies) == 4

    run_virtual(main)


def test_a_bucket_that_is_down_stops_a_redrive_and_loses_nothing() -> None:
    """What is under way ends and is noted; all else is put back, and the next run has it."""

    async def main() -> None:
        scene = LargeScene(read_ahead_bytes=2**20)
        scene.put_large(10)

        async def handler(_: Record) -> None:
            await asyncio.sleep(1)
            scene.bucket.outage = Unanswered("the bucket is down")

        scene.handler = handler
        down = await scene.run()
        assert "the bucket is down" in (down.stopped or "")
        assert 1 < down.handled < 10
        assert down.handled + len(scene.mailbox.bodies) == 10
        scene.bucket.outage, scene.handler = None, None
        await scene.run()
        assert (sorted(scene.numbers), scene.mailbox.bodies) == (list(range(10)), {})

    run_virtual(main)


def test_a_bucket_that_is_throttled_for_a_moment_stops_nothing() -> None:
    """It is asked again for as long as the operator has patience."""

    async def main() -> None:
        scene = LargeScene()
        scene.put_large(10)

        scene.bucket.outage = Throttled("slow down")

        async def moment() -> None:
            await asyncio.sleep(20)
            scene.bucket.outage = None

        async with asyncio.TaskGroup() as group:
            group.create_task(moment())
            result = await scene.run(patience=timedelta(seconds=30))
        assert (result.handled, result.stopped, scene.mailbox.bodies) == (10, None, {})

    run_virtual(main)


def test_credentials_that_have_expired_stop_a_redrive_once_with_their_reason() -> None:
    """No letter is blamed for them, and nobody waits for them to come back by themselves."""

    async def main() -> None:
        scene = LargeScene()
        scene.put_large(8, keys=8)
        scene.bucket.outage = Denied("the credentials in force are not accepted: renew them")
        begun = scene.clock.monotonic()
        result = await scene.run()
        assert scene.clock.monotonic() - begun < 5
        assert result.stopped == f"payloads are not to be had: {scene.bucket.outage}"
        assert set(result.stayed) <= {"not tried to the end"}
        assert (result.handled, len(scene.mailbox.bodies)) == (0, 8)

    run_virtual(main)


def test_a_copy_that_has_its_payload_needs_no_bucket() -> None:
    """A queue's limit may have been raised between them."""

    async def main() -> None:
        scene = LargeScene()
        [one] = scene.put_large(1)
        scene.mailbox.put(one)
        scene.mailbox.put(one, bucket=scene.bucket, limit_bytes=LIMIT)
        scene.bucket.objects.clear()
        assert (await scene.run()).handled == 1
        assert scene.mailbox.bodies == {}

    run_virtual(main)


@pytest.mark.parametrize("bare_first", [True, False])
@pytest.mark.parametrize("better", ["whole", "kept"])
def test_copies_of_a_record_are_one_letter_the_best_of_them(better: str, *, bare_first: bool) -> None:
    """One may have been sent before there was a bucket, or before the queue's limit was raised."""

    async def main() -> None:
        scene = LargeScene()
        one = letter(record(b"x" * SIZE))

        def put_better() -> None:
            scene.mailbox.put(one, bucket=scene.bucket, limit_bytes=2**20 if better == "whole" else LIMIT)

        def put_bare() -> None:
            scene.mailbox.put(one, limit_bytes=LIMIT)

        for put in (put_bare, put_better) if bare_first else (put_better, put_bare):
            put()
        stack, grip = Stack(), Grip(scene.mailbox, clock=scene.clock)
        await stack.gather(grip, most=10)
        assert (len(stack), list(stack.letters), stack.omitted) == (1, [one.record.id], {})
        await grip.let_go()
        result = await scene.run()
        assert (result.handled, result.left, scene.mailbox.bodies) == (1, 0, {})

    run_virtual(main)
