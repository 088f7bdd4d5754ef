"""A Kinesis stream whose answers are encoded before anybody asks: faster than any client of it.

    python -m benchmarks.load --records 50000 --size 1000 --answer 1000 --keys 1000 --shards 1

It speaks as much of the protocol as readers need, prints its port, and ends with its standard input. How fast it is,
the subject `raw` shows, which decodes nothing.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

FIRST = 49590338271490256608559692538361571095921575989136588898
"""A sequence number of 56 digits, as Kinesis gives them."""
LEAD = int(str(FIRST)[:3])
_LEADING = b'"SequenceNumber":"%d' % LEAD
MOST_LAPS = 1_000 - LEAD
"""How often the same answers can follow each other with higher numbers."""
TOP = 2**128
CREATED = 1_700_000_000
STREAM = "bench"
TABLE_ARN = f"arn:aws:dynamodb:us-east-1:123456789012:table/{STREAM}"
LABEL = "2026-01-01T00:00:00.000"


def encode(records: int, *, answer: int, size: int, keys: int) -> list[bytes]:
    """Return the records of one shard as JSON, one piece an answer. Of no size are changes, with both images."""
    if not size:
        from benchmarks.changes import encode_changes  # of streamkit, which peers' loops do without

        return [encode_changes(range(n, min(n + answer, records))) for n in range(0, records, answer)]
    data = base64.b64encode(b"x" * size).decode()
    arrived = time.time() - 60
    pieces: list[bytes] = []
    for first in range(0, records, answer):
        some = [
            {
                "SequenceNumber": str(FIRST + 16 * n),
                "ApproximateArrivalTimestamp": round(arrived + n / 1e6, 3),
                "Data": data,
                "PartitionKey": f"key-{n % keys}",
            }
            for n in range(first, min(first + answer, records))
        ]
        pieces.append(json.dumps(some, separators=(",", ":")).encode())
    return pieces


AGGREGATED = 100
"""User records of an aggregate, of 100 bytes each."""


def aggregate() -> bytes:
    """Return one aggregate in the format of the Kinesis Producer Library, over ten keys."""
    message = b"".join(_field(1, f"key-{n}".encode()) for n in range(10))
    for n in range(AGGREGATED):
        message += _field(3, bytes([0x08, n % 10]) + _field(3, b"x" * 100))
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message, usedforsecurity=False).digest()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


class Stream:
    """What the operations return."""

    def __init__(self, pieces: list[bytes], shards: int, laps: int) -> None:
        self._pieces = pieces
        self._laps = laps
        self._shards = [
            {
                "ShardId": f"shardId-{n:020d}",
                "HashKeyRange": {
                    "StartingHashKey": str(TOP * n // shards),
                    "EndingHashKey": str(TOP * (n + 1) // shards - 1),
                },
                "SequenceNumberRange": {"StartingSequenceNumber": str(FIRST - 1)},
            }
            for n in range(shards)
        ]

    def answer(self, operation: str, request: Mapping[str, Any]) -> list[bytes]:
        """Return the answer's body in parts."""
        if operation == "GetRecords":
            return self._records(request["ShardIterator"])
        return [json.dumps(self._described(operation, request)).encode()]

    def _records(self, iterator: str) -> list[bytes]:
        shard, _, place = iterator.rpartition("/")
        n = int(place)
        left = max(0, self._laps * len(self._pieces) - n - 1)
        lap, at = divmod(n, len(self._pieces)) if self._pieces else (self._laps, 0)
        piece = self._pieces[at] if lap < self._laps else b"[]"
        if lap:
            piece = piece.replace(_LEADING, b'"SequenceNumber":"%d' % (LEAD + lap))
        following = n + 1 if lap < self._laps else n
        tail = f',"NextShardIterator":"{shard}/{following}","MillisBehindLatest":{left * 1000}}}'
        return [b'{"Records":', piece, tail.encode()]

    def _described(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        stream: dict[str, Any] = {
            "StreamName": STREAM,
            "StreamARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": CREATED,
            "EnhancedMonitoring": [],
        }
        plainly: dict[str, dict[str, Any]] = {
            "ListStreams": {"Streams": [{"StreamArn": f"{TABLE_ARN}/stream/{LABEL}", "TableName": STREAM}]},
            "DescribeTable": {
                "Table": {"TableArn": TABLE_ARN, "CreationDateTime": CREATED, "LatestStreamArn": TABLE_ARN}
            },
            "ListShards": {"Shards": self._shards},
            "DescribeStreamSummary": {"StreamDescriptionSummary": {**stream, "OpenShardCount": len(self._shards)}},
            "DescribeStream": {"StreamDescription": {**stream, "Shards": self._shards, "HasMoreShards": False}},
        }
        if operation == "GetShardIterator":
            return {"ShardIterator": f"{request['ShardId']}/0"}
        return plainly.get(operation, {})


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1: requests with a length, answered in turn."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a stream's transport
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1").lower()
            length = _header(head, "content-length")
            whole = end + 4 + int(length or 0)
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            self._reply(_header(head, "x-amz-target").partition(".")[2], body)

    def _reply(self, operation: str, body: bytes) -> None:
        names = {name.lower(): name for name in OPERATIONS}
        parts = self._stream.answer(names.get(operation, ""), json.loads(body or b"{}"))
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: bench\r\n"
            f"Content-Length: {sum(map(len, parts))}\r\n\r\n"
        )
        if self._transport is not None:
            self._transport.writelines([head.encode(), *parts])


OPERATIONS = (
    "GetRecords",
    "GetShardIterator",
    "ListShards",
    "DescribeStreamSummary",
    "DescribeStream",
    "ListStreams",
    "DescribeTable",
)


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n"):
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


async def serve(stream: Stream) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stream), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Encode, then serve."""
    parser = argparse.ArgumentParser()
    for name in ("records", "size", "answer", "keys", "shards"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument(
        "--laps", type=int, default=1, help=f"give the same again with higher numbers, up to {MOST_LAPS}"
    )
    wanted = parser.parse_args()
    pieces = encode(wanted.records // wanted.shards, answer=wanted.answer, size=wanted.size, keys=wanted.keys)
    asyncio.run(serve(Stream(pieces, wanted.shards, wanted.laps)))


if __name__ == "__main__":
    main()
