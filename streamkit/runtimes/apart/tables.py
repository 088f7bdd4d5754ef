"""The consumer's tables, as a handler in a process apart reads them: it asks the worker, which has the clients."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from streamkit.core.letters import Told, cause_of
from streamkit.errors import Denied, Missing, Throttled, Unanswered, WorldError
from streamkit.runtimes.apart.frames import Found, KeyNames, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from streamkit.core.values import Image
    from streamkit.ports import Tables
    from streamkit.runtimes.apart.frames import Frame, Unread

MOST = 32
"""Readings of one process apart at a time."""

_KINDS: dict[Unread, type[WorldError]] = {
    "throttled": Throttled,
    "unanswered": Unanswered,
    "denied": Denied,
    "missing": Missing,
}


async def found(question: Read | KeyNames, tables: Tables) -> Found:
    """Return what there is, or how looking for it failed."""
    try:
        if isinstance(question, KeyNames):
            return Found(question.number, names=tuple(await tables.key_names(question.table)))
        return Found(question.number, await tables.read(question.table, question.key, question.attributes))
    except Exception as error:  # noqa: BLE001 - it is the handler's, whatever it is
        failed: Unread = next((kind for kind, each in _KINDS.items() if isinstance(error, each)), "told")
        return Found(question.number, failed=failed, cause=cause_of(error))


class Questions:
    """What is asked of the worker, from the other end of the pipe."""

    def __init__(self, say: Callable[[Frame], None]) -> None:
        self._say = say
        self._numbers = count(1)
        self._open: dict[int, tuple[int, asyncio.Future[Found]]] = {}
        """Whoever waits, and for which attempt."""
        self._attempts: set[int] = set()
        self._places = asyncio.Semaphore(MOST)

    @contextmanager
    def attempt(self, ask: int) -> Iterator[Tables]:
        """Give what the attempt asked for under this number may read; what it left behind ends with it."""
        self._attempts.add(ask)
        try:
            yield AskedTables(self, ask)
        finally:
            self._attempts.remove(ask)
            for waiting in [waiting for whose, waiting in self._open.values() if whose == ask]:
                waiting.cancel()

    def answered(self, answer: Found) -> None:
        """Hear an answer. Whoever asked may be gone."""
        _, waiting = self._open.get(answer.number, (0, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def ask(self, question: Callable[[int], Read | KeyNames], *, ask: int) -> Found:
        """Ask what `question` makes of a number, and wait. Raises what the worker's table raised."""
        async with self._places:
            if ask not in self._attempts:
                msg = "expected no use of a transaction after its handler has returned, got one"
                raise RuntimeError(msg)
            number = next(self._numbers)
            waiting: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
            self._open[number] = ask, waiting
            try:
                self._say(question(number))
                answer = await waiting
            finally:
                del self._open[number]
        if answer.failed is None or answer.cause is None:
            return answer
        kind = _KINDS.get(answer.failed)
        raise Told(answer.cause) if kind is None else kind(answer.cause.message)


class AskedTables:
    """The tables, for one attempt."""

    def __init__(self, questions: Questions, ask: int) -> None:
        """`ask` is the number under which the attempt was asked for."""
        self._questions = questions
        self._ask = ask

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it, read consistently; None if there is none."""
        wanted = None if attributes is None else tuple(attributes)
        answer = await self._questions.ask(lambda number: Read(number, self._ask, table, key, wanted), ask=self._ask)
        return answer.item

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of the attributes that make the table's key."""
        answer = await self._questions.ask(lambda number: KeyNames(number, self._ask, table), ask=self._ask)
        return answer.names
