"""What is there after the run: read from the stream, the tables and the queue, and from nobody's counters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from streamkit.aws.ledger import claimant_of
from streamkit.aws.reader import records_of
from streamkit.aws.rows import claim_key
from streamkit.cli.demo.producer import Produced
from streamkit.cli.demo.world import QUEUE, STATISTICS, STREAM, Stage
from streamkit.consumer import Consumer
from streamkit.core import envelope
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.letters import Letter
from streamkit.core.records import Origin, Record
from streamkit.signals import Undecodable

_MOST_ANSWERS = 10_000
"""Pages of a table, messages of a queue, reads of a shard: beyond, something turns in circles."""


class Row(msgspec.Struct, frozen=True):
    """One aircraft's month with one carrier, as the table of statistics has it."""

    carrier: str
    month_aircraft: str
    records: tuple[str, ...]
    """Ids of the records that had their effect here, in the order in which they had it."""
    delay_minutes: int = 0
    late: int = 0
    cancelled: int = 0
    repeats: int = 0
    """Deliveries that found their effect in place."""


class Evidence(msgspec.Struct, frozen=True):
    """Everything the verdict is made of."""

    flights: tuple[bytes, ...]
    """The lines of the file that were to be put."""
    acknowledged: frozenset[str]
    put: tuple[Record, ...]
    """The stream, shard by shard, in stream order."""
    rows: tuple[Row, ...]
    letters: tuple[Letter, ...]
    claims: Mapping[str, str]
    """Of records without effect and letter: who claimed their business key, by the checkpoint table."""
    victim: str
    """The worker that was killed."""
    members: tuple[Member, ...]
    shards: tuple[ShardRow, ...]


async def gather(
    stage: Stage, consumer: Consumer, flights: Sequence[bytes], produced: Produced, *, victim: str
) -> Evidence:
    """Read everything."""
    put = [record async for record in _records(stage)]
    rows = [row async for row in _rows(stage)]
    letters = [letter async for letter in _letters(stage)]
    known = {each for row in rows for each in row.records} | {letter.record.id for letter in letters}
    unexplained = [record for record in put if record.id not in known]
    members, shards = await stage.workers(consumer)
    return Evidence(
        flights=tuple(flights),
        acknowledged=produced.acknowledged,
        put=tuple(put),
        rows=tuple(rows),
        letters=tuple(letters),
        claims=await _claims(stage, consumer, unexplained),
        victim=victim,
        members=tuple(members),
        shards=tuple(shards),
    )


async def _records(stage: Stage) -> AsyncIterator[Record]:
    """Read the whole stream, with plain requests rather than with what the workers read by."""
    for shard in (await stage.kinesis("ListShards", StreamName=STREAM))["Shards"]:
        origin = Origin(STREAM, shard["ShardId"])
        place = {"StreamName": STREAM, "ShardId": origin.shard, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = (await stage.kinesis("GetShardIterator", **place))["ShardIterator"]
        for _ in range(_MOST_ANSWERS):
            answer = await stage.kinesis("GetRecords", ShardIterator=iterator)
            for record in records_of(answer["Records"], origin):
                yield record
            if not answer["MillisBehindLatest"]:
                break
            iterator = answer["NextShardIterator"]


async def _rows(stage: Stage) -> AsyncIterator[Row]:
    page: dict[str, Any] = {}
    for _ in range(_MOST_ANSWERS):
        answer = await stage.dynamodb("Scan", TableName=STATISTICS, ConsistentRead=True, **page)
        for item in answer["Items"]:
            yield _row(item)
        if "LastEvaluatedKey" not in answer:
            return
        page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _row(item: Mapping[str, Any]) -> Row:
    counts = {name: int(value["N"]) for name, value in item.items() if "N" in value}
    listed = tuple(each["S"] for each in item.get("records", {"L": []})["L"])
    return Row(item["carrier"]["S"], item["month_aircraft"]["S"], listed, **counts)


async def _letters(stage: Stage) -> AsyncIterator[Letter]:
    url = (await stage.sqs("GetQueueUrl", QueueName=QUEUE))["QueueUrl"]
    for _ in range(_MOST_ANSWERS):
        answer = await stage.sqs("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=3600)
        if not answer.get("Messages"):
            return
        for message in answer["Messages"]:
            yield envelope.read(message["Body"])


async def _claims(stage: Stage, consumer: Consumer, records: Sequence[Record]) -> dict[str, str]:
    """Return whose the business keys of these records are, in the checkpoint table's ledger."""
    found: dict[str, str] = {}
    for record in records:
        key = _business_key(consumer, record)
        if key is None:
            continue
        answer = await stage.dynamodb("GetItem", TableName=consumer.table, Key=claim_key(key), ConsistentRead=True)
        owner = claimant_of(answer["Item"]) if "Item" in answer else None
        if owner is not None:
            found[record.id] = owner
    return found


def _business_key(consumer: Consumer, record: Record) -> str | None:
    """Return the record's key, if it has one: a damaged payload has none."""
    try:
        return consumer.dedupe_key(record) if consumer.dedupe_key else None
    except Undecodable:
        return None
