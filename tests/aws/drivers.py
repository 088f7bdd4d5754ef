"""The other side of a stream and of a queue, through the API of whatever serves it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from streamkit.aws.call import Call
from streamkit.core.envelope import read
from streamkit.core.letters import Letter
from streamkit.core.successes import Success
from streamkit.errors import Missing
from streamkit.testing.contracts import QueueDriver, StreamDriver, SuccessesDriver

POLLS = 300
"""Questions after which a stream that does not become what it should is called broken."""


class RefusingQueue:
    """Calls the real queue, which refuses some of the messages sent next, and shows what is in it."""

    def __init__(self, call: Call, url: str, *, read: Callable[[str], Letter | Success] = read) -> None:
        self.call = call
        self.url = url
        self.read = read
        self.refusing = 0
        self.seen: list[tuple[str, bytes]] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Send what is not to be refused."""
        if operation != "SendMessageBatch" or not self.refusing:
            return await self.call(operation, **parameters)
        entries: list[dict[str, Any]] = parameters["Entries"]
        refused, taken = entries[: self.refusing], entries[self.refusing :]
        self.refusing -= len(refused)
        answer = await self.call(operation, **{**parameters, "Entries": taken}) if taken else {}
        failed = [{"Id": each["Id"], "SenderFault": True, "Code": "Odd"} for each in refused]
        return {**answer, "Failed": failed}

    def refuse(self, letters: int) -> None:
        """Refuse so many of the next letters for good."""
        self.refusing += letters

    async def delivered(self) -> Sequence[tuple[str, bytes]]:
        """Take everything out of the queue; remember what came out before."""
        while messages := await self._receive():
            for message in messages:
                record = self.read(message["Body"]).record
                self.seen.append((record.id, record.data))
                await self.call("DeleteMessage", QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.seen

    async def _receive(self) -> list[dict[str, Any]]:
        answer = await self.call("ReceiveMessage", QueueUrl=self.url, MaxNumberOfMessages=10)
        return list(answer.get("Messages", []))


class KinesisProducer:
    """Puts and reshards through the API."""

    def __init__(self, call: Call, name: str) -> None:
        self.call = call
        self.stream = {"StreamName": name}

    async def put(self, key: str, data: bytes) -> tuple[str, str]:
        """Put a little later than the last: arrivals differ."""
        await asyncio.sleep(0.002)
        answer = await self.call("PutRecord", **self.stream, PartitionKey=key, Data=data)
        return answer["ShardId"], answer["SequenceNumber"]

    async def split(self, shard: str) -> None:
        """Split in the middle."""
        first, last = (await self._ranges())[shard]
        middle = str((first + last) // 2 + 1)
        await self.call("SplitShard", **self.stream, ShardToSplit=shard, NewStartingHashKey=middle)
        await self._until("ACTIVE")

    async def merge(self, shard: str, adjacent: str) -> None:
        """Merge."""
        await self.call("MergeShards", **self.stream, ShardToMerge=shard, AdjacentShardToMerge=adjacent)
        await self._until("ACTIVE")

    async def delete(self) -> None:
        """Delete."""
        await self.call("DeleteStream", **self.stream, EnforceConsumerDeletion=True)
        await self._until(None)

    async def discard(self) -> None:
        """Delete what may be gone: servers keep so many shards and no more."""
        try:
            await self.call("DeleteStream", **self.stream, EnforceConsumerDeletion=True)
        except Missing:
            return

    async def create(self) -> None:
        """Make it again, some time later."""
        await asyncio.sleep(0.01)
        await self.call("CreateStream", **self.stream, ShardCount=2)
        await self._until("ACTIVE")

    async def _ranges(self) -> dict[str, tuple[int, int]]:
        shards = (await self.call("ListShards", **self.stream))["Shards"]
        keys = {shard["ShardId"]: shard["HashKeyRange"] for shard in shards}
        return {name: (int(k["StartingHashKey"]), int(k["EndingHashKey"])) for name, k in keys.items()}

    async def _until(self, state: str | None) -> None:
        for _ in range(POLLS):
            if await self._state() == state:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"expected the stream to be {state or 'gone'}, got {await self._state()}")

    async def _state(self) -> str | None:
        try:
            answer = await self.call("DescribeStreamSummary", **self.stream)
        except Missing:
            return None
        return str(answer["StreamDescriptionSummary"]["StreamStatus"])


_: tuple[type[QueueDriver], type[SuccessesDriver], type[StreamDriver]] = (RefusingQueue, RefusingQueue, KinesisProducer)
