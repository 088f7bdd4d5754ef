"""How adapters speak to a service: one operation, its parameters, its answer."""

from __future__ import annotations

from typing import Any, Protocol


class Call(Protocol):
    """One service of one account and region.

    The SDK's clients are one implementation (`streamkit.aws.clients`), an in-memory service is another.
    """

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request, once, and return the answer as the service's API reference names it.

        Binary values are bytes; moments are seconds since the epoch or aware datetimes. Raises the
        `WorldError`s of `streamkit.errors` and `streamkit.aws.errors`, nothing else.
        """
        ...
