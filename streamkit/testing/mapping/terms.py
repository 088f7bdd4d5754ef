"""How an event source mapping is set up: AWS's own parameters, bounds and defaults.

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

FOREVER = -1
_SECOND = timedelta(seconds=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What `CreateEventSourceMapping` is told. The defaults are AWS's; they block a shard on one bad record for days.

    Raises `ValueError` for what AWS refuses.
    """

    batch_size: int = 100
    window: timedelta = timedelta()
    """MaximumBatchingWindowInSeconds: how long a batch that is not full waits for more."""
    parallelization_factor: int = 1
    """So many batches of one shard at once; records of one partition key stay in order."""
    maximum_retry_attempts: int = FOREVER
    """N retries are N + 1 invocations; `FOREVER` (-1) is until the records expire."""
    maximum_record_age: timedelta | None = None
    """None is until the stream's retention ends, at most 7 days."""
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = False

    def __post_init__(self) -> None:
        age, window = self.maximum_record_age, self.window
        _expect(1 <= self.batch_size <= 10_000, "batch_size: expected 1 to 10000", self.batch_size)
        _expect(timedelta() <= window <= 300 * _SECOND, "window: expected 0 to 300 s", window)
        factor, retries = self.parallelization_factor, self.maximum_retry_attempts
        _expect(1 <= factor <= 10, "parallelization_factor: expected 1 to 10", factor)
        _expect(FOREVER <= retries <= 10_000, "maximum_retry_attempts: expected -1 to 10000", retries)
        _expect(age is None or 60 * _SECOND <= age <= _WEEK, "maximum_record_age: expected None or 60 s to 7 days", age)

    def oldest(self, retention: timedelta) -> timedelta:
        """Return the age beyond which a record is given up, in a stream of this retention."""
        return min(self.maximum_record_age or _WEEK, retention)


def _expect(holds: bool, expectation: str, got: object) -> None:  # noqa: FBT001 - reads like an assertion
    if not holds:
        raise ValueError(f"{expectation}, got {got}")
