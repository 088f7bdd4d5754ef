"""What a handler's error claims about the records of its attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.signals import Failed, Partial, Poison

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from streamkit.core.records import Record
    from streamkit.core.schedule import Attempt


def claims(attempt: Attempt, error: BaseException) -> tuple[set[int], dict[int, BaseException]]:
    """Return what the error claims: the ordinals that are done, and those that failed with their own errors."""
    places = {(record.sequence_number, record.subsequence): ordinal for ordinal, record in pairs(attempt)}

    def place(record: Record) -> int | None:
        return places.get((record.sequence_number, record.subsequence))

    if isinstance(error, Partial):
        done = {ordinal for record in error.done if (ordinal := place(record)) is not None}
        failed = {o: each for record, each in error.failed.items() if (o := place(record)) is not None}
        if done or failed:
            return done - failed.keys(), dict(sorted(failed.items()))
    if isinstance(error, Failed) and (ordinal := place(error.record)) is not None:
        return set(), {ordinal: error.cause or error}
    return set(), {attempt.ordinals[0]: error} if len(attempt.ordinals) == 1 else {}


def tells_of_records_only(error: BaseException, failures: Mapping[int, BaseException]) -> bool:
    """Say whether the failure tells of bad records, and nothing of the world."""
    return all(isinstance(each, Poison) for each in failures.values() or [error])


def pairs(attempt: Attempt) -> Iterable[tuple[int, Record]]:
    """Return the records with their ordinals."""
    return zip(attempt.ordinals, attempt.records, strict=True)


def heads(attempt: Attempt) -> Iterable[int]:
    """Return the first record of each key: what follows it waits for what becomes of it."""
    firsts: dict[str, int] = {}
    for ordinal, record in pairs(attempt):
        firsts.setdefault(record.key, ordinal)
    return firsts.values()


def groups(ordinals: Sequence[int], *, apart: Mapping[int, object]) -> list[list[int]]:
    """Cut into runs, each of `apart` standing alone."""
    cut: list[list[int]] = []
    open_run = False
    for ordinal in ordinals:
        if ordinal in apart:
            cut.append([ordinal])
            open_run = False
        elif open_run:
            cut[-1].append(ordinal)
        else:
            cut.append([ordinal])
            open_run = True
    return cut


def regrouped(
    attempt: Attempt, done: Container[int], failures: Mapping[int, object], *, halve: bool
) -> Sequence[Sequence[int]]:
    """Cut what is left into what is to be run together; where nobody is named, halves or the whole."""
    rest = [ordinal for ordinal in attempt.ordinals if ordinal not in done]
    if failures or len(rest) < len(attempt.ordinals):
        return groups(rest, apart=failures)
    half = (len(rest) + 1) // 2
    return [rest[:half], rest[half:]] if halve else [rest]
