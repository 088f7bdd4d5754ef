"""The world as the real adapters ask it: a `streamkit.aws.call.Call`, and subscriptions in the loop's own time."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from streamkit.aws.errors import Busy, Rejected
from streamkit.errors import Denied, Expired, Missing, Throttled, Unanswered, WorldError
from streamkit.testing.kinesis.errors import AnswerLost, KinesisError
from streamkit.testing.kinesis.requests import REQUESTS, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.aws.call import Call
    from streamkit.testing.kinesis.fan_out import Subscription
    from streamkit.testing.kinesis.world import KinesisWorld

LOOK_SECONDS: Final = 0.05
"""How often a subscription looks for what is due."""
_MEANINGS: Final[dict[str, type[WorldError]]] = {
    "AccessDeniedException": Denied,
    "ExpiredIteratorException": Expired,
    "InternalFailureException": Unanswered,
    "LimitExceededException": Throttled,
    "ProvisionedThroughputExceededException": Throttled,
    "ResourceInUseException": Busy,
    "ResourceNotFoundException": Missing,
}


def call_of(world: KinesisWorld, *, now: Callable[[], float]) -> Call:
    """Return the way to call a world whose time is `now`."""

    async def call(operation: str, /, **parameters: object) -> dict[str, Any]:
        await asyncio.sleep(0)
        name, request = REQUESTS[operation]
        given = {key: _epoch(value) for key, value in parameters.items()}
        try:
            answer = getattr(world, name)(**msgspec.structs.asdict(msgspec.convert(given, request)))
        except (KinesisError, AnswerLost) as error:
            raise meaning_of(error) from error
        if operation == "SubscribeToShard":
            return {"EventStream": Pushing(answer, now)}
        return _plain(wrapped(operation, answer) or {})

    return call


class Pushing:
    """A subscription, carried: a `streamkit.aws.pushed.Subscription`. Nothing is taken before it is asked for."""

    def __init__(self, subscription: Subscription, now: Callable[[], float]) -> None:
        self._subscription = subscription
        self._now = now

    def __repr__(self) -> str:
        return f"<Pushing of {self._subscription!r}>"

    async def event(self) -> dict[str, Any] | None:
        """Return the next event, when it is due; None at the end."""
        while not self._subscription.over:
            try:
                due = self._subscription.due(self._now())
            except KinesisError as error:
                raise meaning_of(error) from error
            if due is not None:
                return _plain(due)
            await asyncio.sleep(LOOK_SECONDS)
        return None

    def close(self) -> None:
        """Hang up."""
        self._subscription.over = True


def meaning_of(error: KinesisError | AnswerLost) -> WorldError:
    """Return what a refusal is to an adapter."""
    kind = Unanswered if isinstance(error, AnswerLost) else _MEANINGS.get(error.code, Rejected)
    return kind(str(error))


def _plain(answer: object) -> dict[str, Any]:
    """Return an answer as an SDK gives it: bytes are bytes."""
    plain: dict[str, Any] = msgspec.to_builtins(answer, builtin_types=(bytes,))
    return plain


def _epoch(value: object) -> object:
    """Return a moment, also one inside, as seconds since the epoch."""
    if isinstance(value, dict):
        return {key: _epoch(each) for key, each in cast("dict[str, object]", value).items()}
    return value.timestamp() if isinstance(value, datetime) else value
