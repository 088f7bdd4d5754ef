"""What a handler may raise to say more than "it failed". Anything else it raises is a failure to retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from streamkit.core.records import Record


class Signal(Exception):
    """Base of what handlers raise on purpose."""


class Poison(Signal):
    """This record will never succeed: no retry, straight to the dead-letter queue with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Undecodable(Poison):
    """The payload is not what it was said to be. Never evidence of an outage (rule 20)."""


class Unavailable(Signal):
    """Nothing can succeed right now: costs no attempt and pauses the shard.

    `retry_after` is the shortest pause before the first probe; None leaves it to the breaker.
    """

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class WorldDown(Unavailable):
    """Not for handlers: what streamkit itself needs does not answer. Never held against a record (rule 19)."""


class Failed(Signal):
    """A batch handler names its culprit and claims nothing about the other records."""

    def __init__(self, record: Record, cause: BaseException | None = None) -> None:
        super().__init__(f"record {record.id} failed")
        self.record = record
        self.cause = cause


class Partial(Signal):
    """A batch handler knows who is who: `done` have taken effect, `failed` have not, the rest is unknown."""

    def __init__(self, *, done: Collection[Record] = (), failed: Mapping[Record, BaseException] | None = None) -> None:
        failed = failed or {}
        super().__init__(f"{len(done)} records done, {len(failed)} failed")
        self.done = done
        self.failed = failed
