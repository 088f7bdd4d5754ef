"""Errors sorted by who must act.

A handler raises *signals* (`streamkit.signals`). Everything here is raised by streamkit itself:

- `ConfigurationError`: the person who wrote or deployed the consumer; says what was expected and what came.
- `LeaseLost`: nobody; the shard belongs to another worker now, stop touching it.
- `Unanswered`, `Throttled`, `Denied`, `Missing`: the AWS room, by what the caller may do next.
- `Undelivered`: the dead-letter queue took some letters and not others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.core.letters import Letter
    from streamkit.core.successes import Success


class StreamkitError(Exception):
    """Base of every error streamkit raises on its own account."""


class ConfigurationError(StreamkitError):
    """A setting, name or resource is not what it has to be; one line that says what to do. Exit status 2."""


class Unregistered(ConfigurationError):
    """The table has no registration: no worker has started on it. A function leaves none."""


class WorldError(StreamkitError):
    """A service did not do what was asked. Subclasses say what the caller may do next."""


class Throttled(WorldError):
    """Refused for pace: nothing happened, ask again later."""


class Unanswered(WorldError):
    """Sent, but no answer that settles it came: it may or may not have happened."""


class Denied(WorldError, ConfigurationError):
    """The credentials in force may not do this."""


class Missing(WorldError, ConfigurationError):
    """The stream, table, queue or shard does not exist."""


class Expired(WorldError):
    """A read position is no longer valid; open it anew from the last record read."""


class CorruptRow(ConfigurationError):
    """A row of the checkpoint table does not read as what it should be."""


class Refused(StreamkitError):
    """A conditional write did not hold.

    `row` is the row as it stood when it was refused, or None if there was none.
    """

    def __init__(self, row: ShardRow | None) -> None:
        super().__init__(f"the write was refused: the row is now {row!r}")
        self.row = row


class Cancelled(Refused):
    """A transaction was cancelled for what it writes beside the row: nothing of it happened, the row stands as it was.

    `causes` says why, by the place of a write among those given; empty where nobody says whose fault it is.
    """

    def __init__(self, causes: Mapping[int, str], why: str) -> None:
        super().__init__(None)
        self.args = (why,)
        self.causes = causes


class TransactionRefused(StreamkitError):
    """DynamoDB does not accept what one record wants written: its condition does not hold, or it makes no sense."""


class DeclaredDead(StreamkitError):
    """This worker's heartbeat row is gone or marked dead: others may own its shards already."""


class LeaseLost(StreamkitError):
    """The shard belongs to another owner or a later epoch: write nothing more."""


class Overtaken(StreamkitError):
    """Another delivery has claimed these records since: write nothing more of them."""


class MalformedEvent(StreamkitError):
    """What a function was invoked with is no event of a stream; nothing of it was settled, all of it comes again."""


class Unsettled(StreamkitError):
    """Records of an invocation are not settled, and nobody said that the mapping understands partial responses."""


class Undelivered(StreamkitError):
    """Some letters are not durable. `letters` are those to send again; the others are durable."""

    def __init__(self, letters: Sequence[Letter], cause: str) -> None:
        super().__init__(f"{len(letters)} dead letters were not taken by the queue: {cause}")
        self.letters = letters


class Untold(StreamkitError):
    """Some successes are not durable in their queue. `successes` are those to send again; the others are durable."""

    def __init__(self, successes: Sequence[Success], cause: str) -> None:
        super().__init__(f"{len(successes)} successes were not taken by the queue: {cause}")
        self.successes = successes


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Give the errors inside of groups within groups; of one that is no group, itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error
