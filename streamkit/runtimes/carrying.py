"""Sources whose records carry changes of DynamoDB tables: what is read comes out as changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.changes import carried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.lineage import Shard, Stream
    from streamkit.core.positions import Place
    from streamkit.ports import Read, Reader, Source


class Carrying:
    """A Kinesis stream that DynamoDB writes changes to, as a `Source` of `Change`s."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"<changes in {self._source!r}>"

    async def identify(self) -> Stream:
        """Return the identity of the stream."""
        return await self._source.identify()

    async def shards(self) -> Sequence[Shard]:
        """Return one complete listing."""
        return await self._source.shards()

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Return a reader of changes."""
        return _Reader(self._source.reader(shard, place))


class _Reader:
    """Reads changes out of records."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self) -> Read:
        """Return the next answer, its records as the changes they carry."""
        read = await self._reader.read()
        return replace(read, records=[carried(record) for record in read.records])

    def close(self) -> None:
        """Close what reads them."""
        self._reader.close()
