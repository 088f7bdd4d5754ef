"""A Kinesis data stream as a `Source`: its identity, its shards, and readers that poll them or are pushed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.aws.backoff import persist
from streamkit.aws.call import Call
from streamkit.aws.errors import Rejected
from streamkit.aws.fan_out import FanOut
from streamkit.aws.fan_out_reader import FanOutReader
from streamkit.aws.fan_out_renewal import FanOutSettings
from streamkit.aws.polling import PollSettings
from streamkit.aws.reader import KinesisReader, track_of
from streamkit.aws.shapes import epoch, listed_shard, stream_name
from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Place
from streamkit.core.records import Compression, Origin
from streamkit.errors import Denied, Missing
from streamkit.ports import Chance, Clock, Reader

if TYPE_CHECKING:
    from streamkit.ports import Report

MAX_PAGES = 1_000
"""Of one listing: at 1,000 shards a page more than any stream has."""


class KinesisSettings(PollSettings, frozen=True):
    """How a stream is read. The service forgets an iterator after 300 s."""

    fan_out: FanOutSettings = FanOutSettings()


class KinesisSource:
    """One Kinesis data stream, by name or ARN."""

    def __init__(  # noqa: PLR0913 - each is a port or a value of its own
        self,
        call: Call,
        *,
        stream: str,
        clock: Clock,
        chance: Chance,
        report: Report,
        compression: Compression | None = None,
        fan_out: str | None = None,
        settings: KinesisSettings | None = None,
    ) -> None:
        """`fan_out` is the name of the stream consumer that records are pushed to; without one they are polled."""
        self.call = call
        self.name = stream_name(stream)
        self.address = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
        self.settings = settings or KinesisSettings()
        self.clock = clock
        self.chance = chance
        self.report = report
        self._compression: Compression | None = compression
        self._fan_out = FanOut(self, fan_out, self.settings.fan_out) if fan_out else None

    def __repr__(self) -> str:
        return f"<Kinesis stream {self.name}>"

    async def identify(self) -> Stream:
        """Return the identity of the stream as it is now. Raises `Missing`, `Denied`."""
        answer = await self.ask("DescribeStreamSummary", **self.address)
        summary = answer["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "DELETING":
            raise Missing(f"stream {self.name} is being deleted: create it anew, or read another one")
        return Stream(
            name=self.name,
            arn=summary["StreamARN"],
            incarnation=str(round(epoch(summary["StreamCreationTimestamp"]) * 1000)),
            retention=timedelta(hours=summary["RetentionPeriodHours"]),
        )

    async def shards(self) -> Sequence[Shard]:
        """Return one complete listing, closed shards that still hold records included."""
        found: list[Shard] = []
        question: Mapping[str, str] = self.address
        for _ in range(MAX_PAGES):
            answer = await self.ask("ListShards", **question)
            found.extend(listed_shard(entry) for entry in answer["Shards"])
            if not answer.get("NextToken"):
                return found
            question = {"NextToken": answer["NextToken"]}
        raise Rejected(f"expected at most {MAX_PAGES} pages of shards of {self.name}, got more")

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Return a reader; nothing is asked of the service before its first `read`."""
        track = track_of(Origin(stream=self.name, shard=shard.id, compression=self._compression), place)
        return FanOutReader(self, self._fan_out, track) if self._fan_out else KinesisReader(self, track)

    async def ask(self, operation: str, **parameters: str) -> dict[str, Any]:
        """Ask a few times before a passing error is the caller's."""
        backoff = msgspec.structs.replace(self.settings.backoff, tries=5)
        try:
            return await persist(lambda: self.call(operation, **parameters), backoff=backoff, chance=self.chance)
        except (Missing, Denied) as error:
            raise type(error)(f"stream {self.name}: {error}") from error
