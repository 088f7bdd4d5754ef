"""What a function's answer means to the mapping. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html, and recordings of AWS for
every shape of `SUCCESSES` and `FAILURES` in tests/testing/mapping/test_answers.py. Where nobody recorded AWS, the
worse reading is taken, and said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE: Final = 0
"""Failed from the first record on."""


class Verdict(msgspec.Struct, frozen=True):
    """How an invocation ended for its batch."""

    failed_from: int | None
    """Index of the first record to deliver again; None if all is settled."""
    reported: bool = False
    """Whether the function named that record itself."""
    error: str | None = None
    """Lambda's name for a function that failed instead of answering; it goes into the on-failure document."""


SUCCESS: Final = Verdict(None)
INVALID: Final = Verdict(WHOLE)
"""An answer that names no record of the batch: as if all had failed, but no function error."""
UNHANDLED: Final = Verdict(WHOLE, error="Unhandled")
"""An exception, a time-out, a dead container."""


def verdict(answer: object, numbers: Sequence[str], *, reports: bool) -> Verdict:
    """Read an answer for a batch of these sequence numbers, in stream order.

    `reports` is whether the mapping has ReportBatchItemFailures: without it any answer is success. With it, an answer
    without the key `batchItemFailures` is success too, so that a misspelt key loses records silently (inferred).
    """
    if not reports or not isinstance(answer, dict):
        return SUCCESS
    failures = cast("dict[str, object]", answer).get("batchItemFailures")
    if failures is None or failures == []:
        return SUCCESS
    places = {number: place for place, number in enumerate(numbers)}
    found = [_place(failure, places) for failure in cast("list[object]", failures)] if _is_list(failures) else [None]
    known = [place for place in found if place is not None]
    return INVALID if len(known) < len(found) else Verdict(min(known), reported=True)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _place(failure: object, places: dict[str, int]) -> int | None:
    """Return which record a failure names; None for an empty, null or unknown identifier, or a wrong key."""
    if not isinstance(failure, dict):
        return None
    number = cast("dict[str, object]", failure).get("itemIdentifier")
    return places.get(number) if isinstance(number, str) else None
