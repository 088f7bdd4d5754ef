"""What passes on the way to DynamoDB, counted: a loopback proxy before the endpoint, whoever asks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from aiohttp import ClientSession, web

WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
LOCAL = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding", "host"})
"""Headers that are one connection's own."""


@dataclass(slots=True)
class Counts:
    """Requests and write units, by what they are for. No item may be over 1 KB: a write of one is one unit."""

    requests: Counter[str] = field(default_factory=Counter[str])
    units: Counter[str] = field(default_factory=Counter[str])

    def note(self, operation: str, body: Mapping[str, Any], purpose: Callable[[Mapping[str, Any]], str]) -> None:
        """Count one request. A write in a transaction is two units."""
        if operation in WRITES:
            self._count({purpose(body): written(body)})
        elif operation == "TransactWriteItems":
            operations = [next(iter(each.items())) for each in body["TransactItems"]]
            units = Counter[str]()
            for _, each in operations:
                units[purpose(each)] += 2 * written(each)
            self._count(units)
        else:
            self.requests["reads"] += 1

    def _count(self, units: Mapping[str, int]) -> None:
        self.units.update(units)
        self.requests[next(iter(units))] += 1


def written(body: Mapping[str, Any]) -> int:
    """Return the units of one write: a started KB each, of a whole item; an update's item is taken to be small."""
    return max(1, ceil(len(json.dumps(body.get("Item", {}), separators=(",", ":"))) / 1024))


@asynccontextmanager
async def counting(
    endpoint: str, counts: Counts, purpose: Callable[[Mapping[str, Any]], str]
) -> AsyncGenerator[str, None]:
    """Serve a proxy before the endpoint while it lasts; yield its URL."""
    async with ClientSession(auto_decompress=False) as client:

        async def forward(asked: web.Request) -> web.Response:
            body = await asked.read()
            service, _, operation = asked.headers.get("X-Amz-Target", "").rpartition(".")
            if service.startswith("DynamoDB_"):
                counts.note(operation, json.loads(body), purpose)
            headers = {name: value for name, value in asked.headers.items() if name.lower() not in LOCAL}
            async with client.request(asked.method, f"{endpoint}{asked.path_qs}", data=body, headers=headers) as answer:
                passed = {name: value for name, value in answer.headers.items() if name.lower() not in LOCAL}
                return web.Response(status=answer.status, body=await answer.read(), headers=passed)

        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()
