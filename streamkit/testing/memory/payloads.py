"""A bucket for payloads, in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamkit.core.kept import Kept, Lost

if TYPE_CHECKING:
    from streamkit.errors import WorldError


class MemoryPayloads:
    """Objects by their names. `outage`, where set, is raised by every request."""

    def __init__(self, bucket: str = "bucket") -> None:
        self.objects: dict[str, bytes] = {}
        self.outage: WorldError | None = None
        self._bucket = bucket

    def __repr__(self) -> str:
        return f"<MemoryPayloads, {len(self.objects)} objects>"

    @property
    def bucket(self) -> str:
        """Its name."""
        return self._bucket

    async def keep(self, kept: Kept, payload: bytes) -> None:
        """Keep a payload."""
        await self._request()
        self.objects[kept.key] = payload

    async def fetch(self, kept: Kept) -> bytes:
        """Return what was kept. Raises `Lost`."""
        await self._request()
        if kept.bucket != self._bucket:
            raise Lost(f"{kept}: expected a payload in the bucket {self._bucket}, got one elsewhere")
        if kept.key not in self.objects:
            raise Lost(f"{kept}: expected the payload of a letter, got no such object")
        return kept.expect(self.objects[kept.key])

    async def _request(self) -> None:
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
