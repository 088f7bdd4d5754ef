"""The check of idempotence finds handlers that are not, wherever their fault lies, and passes those that are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest

from streamkit import Batch, Kinesis, Poison, Record, Sqs, consumer
from streamkit.testing import NotIdempotent, expect_idempotent, records

Stage = Callable[[], AbstractContextManager[Callable[[], object]]]
TEN = records(10, keys=("a", "b", "c"))


def made(handler: Callable[..., Any], *, batches: bool = False, **settings: Any) -> Any:
    """A consumer of this handler."""
    decorate = consumer.batch if batches else consumer
    return decorate("shop", source=Kinesis("stream"), dead_letters=Sqs("dead"), **settings)(handler)


class Shop:
    """Effects: orders by id, a sum, and mails that went out."""

    def __init__(self) -> None:
        self.orders: dict[str, int] = {}
        self.total = 0
        self.mails: Counter[str] = Counter()

    @contextmanager
    def stage(self) -> Generator[Callable[[], object]]:
        """Empty the shop; what is in it are the effects."""
        self.__init__()  # type: ignore[misc] # as new
        yield lambda: (dict(self.orders), self.total, dict(self.mails))


@pytest.fixture
def shop() -> Shop:
    """An empty shop."""
    return Shop()


async def test_a_handler_that_puts_by_the_records_id_passes(shop: Shop) -> None:
    """Every step of every record was crashed at: two lines, and the end."""

    async def handle(record: Record) -> None:
        number = record.json()
        shop.orders[record.id] = number

    tried = await expect_idempotent(made(handle), TEN, shop.stage)
    assert (tried.runs, tried.crashes) == (3, 10 * 3)


async def test_a_handler_that_adds_up_is_found(shop: Shop) -> None:
    """Two runs add twice."""

    async def handle(record: Record) -> None:
        shop.total += record.json()

    with pytest.raises(NotIdempotent, match=r"shop: after 2 runs: expected \({}, 55, {}\), got \({}, 110, {}\)"):
        await expect_idempotent(made(handle), TEN, shop.stage)


@pytest.mark.parametrize("kind", ["async", "thread", "batch", "callable"])
async def test_a_guard_that_is_set_before_the_effect_is_found_by_a_crash_between_them(shop: Shop, kind: str) -> None:
    """Running it twice in full shows nothing: only the crash does, and it is named by its line."""

    def put(record: Record) -> None:
        if record.id not in shop.orders:
            shop.orders[record.id] = 1
            shop.mails[record.id] += 1

    async def handle(record: Record) -> None:
        if record.id not in shop.orders:
            shop.orders[record.id] = 1
            shop.mails[record.id] += 1

    async def handle_batch(batch: Batch) -> None:
        for record in batch:
            put(record)

    class Handle:
        async def __call__(self, record: Record) -> None:
            if record.id not in shop.orders:
                shop.orders[record.id] = 1
                shop.mails[record.id] += 1

    subjects = {
        "async": lambda: made(handle),
        "thread": lambda: made(put),
        "batch": lambda: made(handle_batch, batches=True),
        "callable": lambda: made(Handle()),
    }
    with pytest.raises(NotIdempotent, match=r"after a crash at test_rehearsal.py:\d+ and a run to the end"):
        await expect_idempotent(subjects[kind](), TEN, shop.stage, within=[put])


async def test_a_cleanup_that_a_crash_would_not_run_does_not_help(shop: Shop) -> None:
    """No `finally` runs in a process that was killed, and no `except` either."""

    async def handle(record: Record) -> None:
        if record.id in shop.orders:
            return
        shop.orders[record.id] = 1
        try:
            shop.total += 1
        except BaseException:
            del shop.orders[record.id]
            raise
        finally:
            shop.mails[record.id] = 1

    with pytest.raises(NotIdempotent, match="after a crash at"):
        await expect_idempotent(made(handle), TEN, shop.stage)


async def test_a_second_run_that_fails_for_what_it_finds_is_found(shop: Shop) -> None:
    """Effects are right, but records that were handled end in the queue."""

    async def handle(record: Record) -> None:
        if record.id in shop.orders:
            raise Poison("it exists")
        shop.orders[record.id] = 1

    with pytest.raises(NotIdempotent, match=r"after 2 runs: expected the dead letters \[\], got .*it exists"):
        await expect_idempotent(made(handle), TEN, shop.stage)


async def test_poison_is_no_matter_if_it_is_the_same_each_time(shop: Shop) -> None:
    """And resources come with the consumer's own lifespan."""

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[dict[str, int]]:
        yield shop.orders

    async def handle(record: Record, *, state: dict[str, int]) -> None:
        if record.json() == 3:
            raise Poison("three")
        state[record.id] = record.json()

    await expect_idempotent(made(handle, lifespan=lifespan), TEN, shop.stage)


async def test_what_cannot_be_rehearsed_is_said(shop: Shop) -> None:
    """A batch that never settles, and one with too many steps."""

    async def fail(record: Record) -> None:
        raise OSError(record.id)

    async def handle(record: Record) -> None:
        shop.orders[record.id] = 1

    with pytest.raises(ValueError, match="expected a batch that settles, got one that leaves 10 records"):
        await expect_idempotent(made(fail), TEN, shop.stage)
    with pytest.raises(ValueError, match="expected at most 5 steps, got more"):
        await expect_idempotent(made(handle), TEN, shop.stage, most_crashes=5)
