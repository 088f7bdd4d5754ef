"""How events are written: one line each, JSON for machines or aligned text for people. The only room of structlog.

Nothing global is touched: neither structlog's configuration nor `logging`'s belongs to a library. Handlers log as
their authors set it up.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, TextIO

import msgspec
import structlog

from streamkit.events import Level, catalogue

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import Processor

    from streamkit.events import Event
    from streamkit.ports import Clock, Report

Format = Literal["json", "console"]
RANKS: dict[Level, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}


def reporter(form: Format, level: Level, *, clock: Clock, stream: TextIO, colours: bool = False) -> Report:
    """Return what writes the events of `level` and above to `stream`, one line each, flushed.

    A line has `timestamp` (ISO 8601, UTC), `level`, `event` and the event's fields. An event below the level costs
    one look-up. A stream that cannot be written to does not stop the work.
    """
    silent = frozenset(event for event in catalogue().values() if RANKS[event.level] < RANKS[level])
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[_renderer(form, colours=colours)],
        wrapper_class=_EventLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    ).bind()

    def report(event: Event) -> None:
        if type(event) in silent:
            return
        with contextlib.suppress(OSError):
            logger.write(event, clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"))

    return report


class _EventLogger(structlog.BoundLoggerBase):
    """Hands events of the catalogue to structlog."""

    def write(self, event: Event, timestamp: str) -> None:
        """Write one event as a line."""
        fields: dict[str, Any] = {"timestamp": timestamp, "level": event.level}
        self._proxy_to_logger("info", event.name, **fields, **msgspec.structs.asdict(event))


def _renderer(form: Format, *, colours: bool) -> Processor:
    if form == "console":
        return structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=22)
    return _json


_ENCODER = msgspec.json.Encoder()


def _json(_logger: object, _method: str, line: MutableMapping[str, Any]) -> str:
    """Render a line as JSON, what all have in common first."""
    head = {name: line.pop(name) for name in ("timestamp", "level", "event")}
    return _ENCODER.encode({**head, **line}).decode()
