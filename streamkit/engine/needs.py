"""What the engine needs: of the consumer, and of the world around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from streamkit.core.ledger import Tenure

if TYPE_CHECKING:
    from streamkit.core.records import Record
    from streamkit.core.rules import OnMissingKey
    from streamkit.core.transactions import Write
    from streamkit.engine.pace import Pace
    from streamkit.ports import Clock, DeadLetters, Ledger, Report, Successes, Tables


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """The consumer, as the engine needs it. Times in seconds."""

    call: Callable[..., Awaitable[object]]
    """Takes the record or batch; and `tx`, where the consumer is transactional."""
    threads: asyncio.Semaphore | None
    """Free threads, where the handler is a plain function: its attempt starts with one in hand. None if it is async."""
    batches: bool
    concurrency: int
    timeout: float
    grace: float
    """How long after its time-out an attempt may take to end."""
    max_age: float | None
    where: Callable[[Record], object] | None
    dedupe_key: Callable[[Record], str | None] | None
    on_missing_key: OnMissingKey
    transactional: bool
    consumer: str
    code_version: str
    stream_arn: str
    collect: Callable[[Record, Tables], Awaitable[tuple[Write, ...]]] | None = None
    """Runs a transactional handler somewhere else and returns what it wants written; None has `call` run it here."""
    pace: Pace | None = None
    """The rate limit, shared by all shards; None is none."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The ports the engine works through."""

    clock: Clock
    report: Report
    dead_letters: DeadLetters | None
    ledger: Ledger | None
    may_start: Callable[[], bool]
    """Asked right before each handler starts; once it says no, nothing starts any more (rule 3)."""
    delay: Callable[[int], float]
    """Seconds to wait after the n-th refusal of the dead-letter queue."""
    on_stuck: Callable[[], None]
    """Called when an attempt neither ends nor can be stopped."""
    successes: Successes | None = None
    """Where it is told which records were handled, if somebody wants to know."""
    observe: Callable[[float, int], None] | None = None
    """Told how many seconds so many calls of the handler took together, where somebody wants to know."""
    until: Callable[[], float] | None = None
    """Says from which moment on (monotonic) nothing may start as far as is known: for whoever starts it later."""
    tenure: Tenure = Tenure()
    """Under what right records are run: what claims of business keys are made under."""
