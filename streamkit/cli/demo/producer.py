"""The producer: it puts every flight, and does to a stream what producers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from streamkit.cli.demo.world import STREAM, Stage
from streamkit.errors import Unanswered

BATCH = 100
CORRUPTED = 6
"""Payloads that are put damaged, before they are put as they should be."""
_TRIES = 10


class _Keyed(msgspec.Struct):
    tailnum: str | None
    carrier: str
    flight: int

    @property
    def key(self) -> str:
        """The aircraft, or the flight where the source does not name it."""
        return self.tailnum or f"{self.carrier}{self.flight}"


class Produced(msgspec.Struct, frozen=True):
    """What the producer knows."""

    acknowledged: frozenset[str]
    """Ids of the records whose put was answered."""
    lost_answers: int


async def produce(stage: Stage, flights: Sequence[bytes], *, progress: Callable[[int], None]) -> Produced:
    """Put the flights in batches; a batch whose answer is lost is put again, all of it."""
    acknowledged, lost = set[str](), 0
    for done, batch in _batches(flights):
        for attempt in range(_TRIES):
            try:
                acknowledged.update(await _put(stage, batch))
                break
            except Unanswered:
                lost += 1
                if attempt + 1 == _TRIES:
                    raise
        progress(done)
    return Produced(frozenset(acknowledged), lost)


async def _put(stage: Stage, batch: Sequence[tuple[str, bytes]]) -> Iterator[str]:
    entries = [{"PartitionKey": key, "Data": payload} for key, payload in batch]
    answer = await stage.kinesis("PutRecords", StreamName=STREAM, Records=entries)
    if answer["FailedRecordCount"]:
        raise RuntimeError(f"expected every record taken, got {answer['FailedRecordCount']} refused")
    return (f"{STREAM}:{put['ShardId']}:{put['SequenceNumber']}:0" for put in answer["Records"])


def _batches(flights: Sequence[bytes]) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """Give batches of keys and payloads, and how many flights are put with each."""
    step = max(1, len(flights) // CORRUPTED)
    for start in range(0, len(flights), BATCH):
        batch = list[tuple[str, bytes]]()
        for n, payload in enumerate(flights[start : start + BATCH], start):
            key = msgspec.json.decode(payload, type=_Keyed).key
            if n % step == step // 2:
                batch.append((key, damaged(payload, n // step)))
            batch.append((key, payload))
        yield start + len(flights[start : start + BATCH]), batch


def damaged(payload: bytes, kind: int) -> bytes:
    """Return the payload cut off, in another encoding, or with a field of the wrong type."""
    match kind % 3:
        case 0:
            return payload[: len(payload) // 2]
        case 1:
            return payload.decode().encode("utf-16")
        case _:
            return payload.replace(b'"flight":', b'"flight":"no ', 1).replace(b',"tailnum"', b'","tailnum"', 1)
