"""What goes into the next batch for a queue, and what became of the messages: decisions only, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamkit.core.envelope import Envelope

BATCH = 10
"""Most messages of one SendMessageBatch."""
BATCH_BYTES = 256 * 1024
"""What every region and emulator takes in one batch, whatever the queue's own limit."""


class Queue(msgspec.Struct, frozen=True):
    """What has to be known of a queue before anything is sent."""

    url: str
    limit_bytes: int
    """Of one message."""

    @property
    def fifo(self) -> bool:
        """Whether the queue keeps the order within a group and drops repeats."""
        return self.url.endswith(".fifo")

    @property
    def batch_bytes(self) -> int:
        """Most bytes of one batch."""
        return max(BATCH_BYTES, self.limit_bytes)


def held_up(envelopes: Sequence[Envelope], first: int, queue: Queue) -> tuple[int, ...]:
    """Return which cannot be sent while payloads cannot be kept, from the first of them on.

    In a FIFO queue, nothing of a group goes before what it has to wait for.
    """
    waiting: list[int] = []
    groups = set[str]()
    for index in range(first, len(envelopes)):
        each = envelopes[index]
        if each.kept is not None or (queue.fifo and each.group_id in groups):
            waiting.append(index)
            groups.add(each.group_id)
    return tuple(waiting)


class Outbox:
    """Messages on their way to one queue, by their numbers. Those of one FIFO group go one after the other."""

    def __init__(self, envelopes: Sequence[Envelope], queue: Queue) -> None:
        self._envelopes = envelopes
        self._queue = queue
        self._waiting = list(range(len(envelopes)))
        self._refused: set[int] = set()

    def __repr__(self) -> str:
        return f"<Outbox, {len(self._waiting)} of {len(self._envelopes)} waiting, {len(self._refused)} refused>"

    def undelivered(self) -> list[int]:
        """Return which are not known to be durable, in their order."""
        return sorted(self._refused.union(self._waiting))

    def batch(self) -> list[dict[str, Any]]:
        """Return the entries of the next batch, empty if nothing waits."""
        entries: list[dict[str, Any]] = []
        room, groups = self._queue.batch_bytes, set[str]()
        for index in self._waiting:
            each = self._envelopes[index]
            room -= len(each.body.encode())
            if len(entries) == BATCH or (room < 0 and entries):
                break
            if self._queue.fifo and each.group_id in groups:
                continue
            groups.add(each.group_id)
            entries.append(self._entry(index, each))
        return entries

    def settle(self, entries: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> str | None:
        """Take note of the answer to a batch; return the cause if some of it has to be sent again, else None.

        A message that the queue calls the sender's fault is not sent again, and nothing of its group after it.
        """
        taken = {int(entry["Id"]) for entry in answer.get("Successful", ())}
        failed = answer.get("Failed", ())
        refused = {int(entry["Id"]) for entry in failed if entry.get("SenderFault")}
        if self._queue.fifo:
            groups = {self._envelopes[index].group_id for index in refused}
            refused |= {index for index in self._waiting if self._envelopes[index].group_id in groups} - taken
        self._refused |= refused
        self._waiting = [index for index in self._waiting if index not in taken | refused]
        if all(int(entry["Id"]) in taken | refused for entry in entries):
            return None
        return ", ".join(sorted({str(entry.get("Code")) for entry in failed})) or "some were not mentioned"

    def _entry(self, index: int, each: Envelope) -> dict[str, Any]:
        entry = {"Id": str(index), "MessageBody": each.body}
        if self._queue.fifo:
            entry |= {"MessageGroupId": each.group_id, "MessageDeduplicationId": each.deduplication_id}
        return entry
