"""From a consumer to what the engine needs: the same for every runtime."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from streamkit.core.kpl import DECODING
from streamkit.core.settlement import Batching, Rules
from streamkit.engine.engine import Handling
from streamkit.engine.handling import Threads, bind
from streamkit.engine.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from streamkit.consumer import Consumer
    from streamkit.engine.retry import FullJitter, HalfJitter
    from streamkit.ports import Chance

GRACE_SECONDS = 30.0
"""How long an attempt over its time may take to end before the process has to (rule 8)."""


def rules_of(consumer: Consumer, *, chance: Chance, retention: timedelta) -> Rules:
    """Return how the consumer settles, with jitter drawn from `chance`."""
    retry, outage = consumer.retry, consumer.outage
    return Rules(
        retry=retry,
        outage=outage,
        outage_limit=outage.limit_for(retention).total_seconds(),
        backoff=full_jitter(retry.initial, retry.maximum, chance),
        pause=half_jitter(outage.pause, outage.maximum, chance),
        on_dead_letter=consumer.on_dead_letter,
        batching=_batching(consumer),
        once=consumer.mode == "at_most_once",
        decoding=DECODING | consumer.max_record_bytes << 8,
    )


def full_jitter(initial: timedelta, maximum: timedelta, chance: Chance) -> Callable[[int], float]:
    """Return the seconds to wait after the n-th failure. tenacity is loaded at the first one, by a cold start never."""

    @cache
    def wait() -> FullJitter:
        from streamkit.engine.retry import FullJitter

        return FullJitter(initial=initial, maximum=maximum, chance=chance)

    return lambda failures: wait().after(failures)


def half_jitter(initial: timedelta, maximum: timedelta, chance: Chance) -> Callable[[int], float]:
    """Return the same for a pause that must not be skipped by chance."""

    @cache
    def wait() -> HalfJitter:
        from streamkit.engine.retry import HalfJitter

        return HalfJitter(initial=initial, maximum=maximum, chance=chance)

    return lambda failures: wait().after(failures)


def handling_of(consumer: Consumer, *, state: object, threads: Threads, stream_arn: str) -> Handling:
    """Return how the consumer's code is called, with the value its lifespan gave."""
    max_age = consumer.retry.max_age
    return Handling(
        call=bind(consumer.handler, consumer.signature, state=state, threads=threads.pool),
        threads=None if consumer.signature.is_async else threads.free,
        batches=consumer.batches,
        concurrency=1 if consumer.batches else consumer.concurrency,
        timeout=consumer.handler_timeout.total_seconds(),
        grace=GRACE_SECONDS,
        max_age=max_age.total_seconds() if max_age else None,
        where=consumer.where,
        dedupe_key=consumer.dedupe_key,
        on_missing_key=consumer.on_missing_key,
        transactional=consumer.mode == "transactional",
        consumer=consumer.name,
        code_version=consumer.code_version,
        stream_arn=stream_arn,
        pace=Pace(consumer.rate) if consumer.rate is not None else None,
    )


def _batching(consumer: Consumer) -> Batching | None:
    if not consumer.batches:
        return None
    return Batching(size=consumer.batch_size, linger=consumer.linger.total_seconds())
