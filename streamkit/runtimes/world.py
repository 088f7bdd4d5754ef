"""Where the ports of consumers come from: AWS, or memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from streamkit.consumer import Consumer
    from streamkit.ports import Ports, Registration, Report, Rows


class World(Protocol):
    """Opens the ports of consumers. What is opened serves one event loop, and is closed with its context."""

    threaded: bool
    """Whether heartbeats get a thread and event loop of their own; not under virtual time."""

    def open(self, consumer: Consumer, report: Report) -> AbstractAsyncContextManager[Ports]:
        """Open source, table and queue. Raises `ConfigurationError` if one is missing or is not what it has to be."""
        ...

    def rows(self, consumer: Consumer, registration: Registration) -> AbstractAsyncContextManager[Rows]:
        """Open the rows the registration names: twice, where heartbeats have a loop of their own."""
        ...
