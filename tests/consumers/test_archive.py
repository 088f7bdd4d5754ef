"""The archive: each record in exactly one object, wherever a writer is killed and whoever writes beside it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aioboto3
import pytest
from msgspec.structs import replace

from consumers.archive import Archive, Line, packed, unpacked
from streamkit import Batch, Record, Unavailable
from streamkit.core.records import Origin

TEN = datetime(2026, 11, 20, 10, 59, 58, tzinfo=UTC).timestamp()
SHARD = Origin("flights", "shardId-000000000000")
RECORDS = [Record(f"payload {n}".encode(), f"key-{n % 3}", str(10**30 + n * 7), SHARD, TEN + n / 4) for n in range(16)]
"""Eight arrive before the hour and eight after it."""


class Killed(BaseException):
    """SIGKILL: nothing of the writer runs after it."""


class DyingS3:
    """Passes requests on, and is killed before or after the n-th of them arrives."""

    def __init__(self, s3: Any, *, at: int, after: bool) -> None:
        self._s3 = s3
        self._left = at
        self._after = after
        self.exceptions = s3.exceptions

    def __getattr__(self, name: str) -> Any:
        return self._paginator if name == "get_paginator" else self._dying(getattr(self._s3, name))

    def _paginator(self, name: str) -> Any:
        self._step()
        return self._s3.get_paginator(name)

    def _dying(self, send: Any) -> Any:
        async def sent(**parameters: object) -> object:
            dies = self._step(keep=self._after)
            answer = await send(**parameters)
            if dies:
                raise Killed
            return answer

        return sent

    def _step(self, *, keep: bool = False) -> bool:
        self._left -= 1
        if self._left == -1 and not keep:
            raise Killed
        return self._left == -1


@pytest.fixture
def url(embedded: Mapping[str, str]) -> str:
    """Where an embedded S3 answers."""
    return embedded["AWS_ENDPOINT_URL"]


@asynccontextmanager
async def bucket(url: str, name: str) -> AsyncGenerator[Any]:
    """Make a bucket and a client."""
    session: Any = aioboto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
    async with session.client("s3", endpoint_url=url) as s3:
        await s3.create_bucket(Bucket=name)
        yield s3


def kept_by(s3: Any, name: str) -> Archive:
    """Return an archive that remembers nothing, as a new process has it."""
    return Archive(s3, bucket=name, prefix="a")


async def lines(s3: Any, name: str) -> list[Line]:
    """Return all that is kept."""
    hours = (datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (10, 11))
    return [line for hour in hours async for line in kept_by(s3, name).hour("flights", hour)]


def once(found: Sequence[Line], records: Sequence[Record]) -> bool:
    """Say whether each record is kept once, as it was put."""
    as_put = {each.id: (each.key, each.data, each.arrived) for each in records}
    return Counter(line.id for line in found) == dict.fromkeys(as_put, 1) and all(
        (line.key, line.data, line.arrived) == as_put[line.id] for line in found
    )


@pytest.mark.slow
async def test_each_record_is_kept_once_wherever_a_writer_is_killed(url: str) -> None:
    """Before and after each of its requests; the successor's batches are cut elsewhere, and begin further back."""
    ends = 0
    async with bucket(url, "killed") as s3:
        for at in range(40):
            for after in (False, True):
                name = f"killed-{at}-{after}".lower()
                await s3.create_bucket(Bucket=name)
                dying = kept_by(DyingS3(s3, at=at, after=after), name)
                settled = 0
                try:
                    for begin in range(0, 16, 5):
                        await dying.keep(RECORDS[begin : begin + 5])
                        settled = begin
                except Killed:
                    pass
                else:
                    ends += 1
                successor = kept_by(s3, name)
                for begin in range(max(0, settled - 2), 16, 3):
                    await successor.keep(RECORDS[begin : begin + 3])
                assert once(await lines(s3, name), RECORDS), (at, after)
            if ends == 2:
                break
    assert ends == 2, "the last kill comes after the last request"


@pytest.mark.slow
async def test_zombies_and_reordered_batches_keep_each_record_once(url: str) -> None:
    """Several writers at once, each with batches of its own cut and order, some of them twice."""
    async with bucket(url, "zombies") as s3:
        for seed in range(3):
            name, chance = f"zombies-{seed}", random.Random(seed)
            await s3.create_bucket(Bucket=name)

            async def write(chance: random.Random, name: str = name) -> None:
                mine = kept_by(s3, name)
                size = chance.randint(4, 7)
                begins = [*range(0, 16, size), 3]
                chance.shuffle(begins)
                for begin in begins:
                    await mine.keep(RECORDS[begin : begin + size])

            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(write(random.Random(chance.random())))
            assert once(await lines(s3, name), RECORDS), seed


async def test_a_record_redriven_long_after_later_ones_is_kept(url: str) -> None:
    """It is left out only if it is seen in an object, not because later ones are; subrecords are told apart."""
    users = [replace(RECORDS[3], subsequence=n, last=n == 2, data=b"%d" % n) for n in range(3)]
    async with bucket(url, "redriven") as s3:
        archive = kept_by(s3, "redriven")
        await archive.keep(Batch([*RECORDS[:3], users[0], users[2], *RECORDS[4:]]))
        await archive.keep([users[1]])
        await kept_by(s3, "redriven").keep([users[1], users[0]])
        assert once(await lines(s3, "redriven"), [*RECORDS[:3], *users, *RECORDS[4:]])


async def test_a_bucket_that_does_not_take_them_condemns_nothing(url: str) -> None:
    """It is an outage: the shard pauses, and no attempt is held against a record."""
    async with bucket(url, "there") as s3:
        with pytest.raises(Unavailable, match="S3: NoSuchBucket"):
            await kept_by(s3, "not-there").keep(RECORDS)


def test_the_same_records_make_the_same_object() -> None:
    """Compressed, one JSON line a record, payload exact."""
    assert packed(RECORDS) == packed(RECORDS)
    assert [line.data for line in unpacked(packed(RECORDS))] == [each.data for each in RECORDS]
    assert unpacked(packed(RECORDS))[5].place == (RECORDS[5].sequence, 0)
