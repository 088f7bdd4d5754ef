"""How a consumer's code is called: async or in a thread, one record or a batch, with its extras."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from streamkit.core.records import Batch, Record

EXTRAS = frozenset({"state", "tx"})
"""Keyword-only parameters a handler may name to be passed them."""


class Threads:
    """Threads for plain functions: at most `most`, started as they are needed. One is `free` before it is used."""

    def __init__(self, most: int, *, name: str) -> None:
        self.pool = ThreadPoolExecutor(most, name)
        self.free = asyncio.Semaphore(most)

    def close(self) -> None:
        """Take no more work; what is under way ends by itself."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class Signature(msgspec.Struct, frozen=True):
    """What a handler wants."""

    is_async: bool
    extras: frozenset[str]

    @classmethod
    def of(cls, handler: Callable[..., Any]) -> Signature:
        """Read a handler's signature. Raises `ConfigurationError` if it cannot be a handler."""
        name = getattr(handler, "__qualname__", repr(handler))
        parameters = inspect.signature(handler).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in positional if p.default is p.empty]
        extras = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        unknown = sorted(p.name for p in extras if p.name not in EXTRAS and p.default is p.empty)
        if not positional or len(required) > 1:
            msg = f"handler {name}: expected one positional parameter, the record or batch, got {len(required)}"
            raise ConfigurationError(msg)
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            msg = f"handler {name}: expected a function that works when called, got a generator (it has a `yield`)"
            raise ConfigurationError(msg)
        if unknown:
            msg = f"handler {name}: expected keyword-only parameters among {sorted(EXTRAS)}, got {unknown}"
            raise ConfigurationError(msg)
        call = handler
        while isinstance(call, functools.partial):
            call = call.func
        call = call if inspect.isroutine(call) else getattr(call, "__call__", call)  # noqa: B004 - which function it is, not whether there is one
        return cls(
            is_async=inspect.iscoroutinefunction(call),
            extras=frozenset(p.name for p in extras) & EXTRAS,
        )


def bind(
    handler: Callable[..., Any], signature: Signature, *, state: object, threads: Executor | None
) -> Callable[..., Awaitable[object]]:
    """Return the handler as an async function of its subject, and of `tx` where it takes one.

    A plain `def` runs in `threads`.
    """
    extras = {"state": state} if "state" in signature.extras else {}
    if not signature.is_async:
        return functools.partial(_in_thread, functools.partial(handler, **extras), threads)
    return functools.partial(handler, **extras) if extras else handler


async def _in_thread(
    call: Callable[[Record | Batch], Any], threads: Executor | None, subject: Record | Batch
) -> object:
    """Run the call in a thread and wait until the thread has ended, whoever cancels: only then is it over (rule 8)."""
    context = contextvars.copy_context()
    future = asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(_checked, call, subject))
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise
        except BaseException:  # noqa: BLE001, S110 - the handler's own error: raised below, from the future
            pass
    return future.result()


def _checked(call: Callable[[Record | Batch], Any], subject: Record | Batch) -> object:
    """Call a plain function. What asyncio could not carry out of the thread, or would drop, becomes an error."""
    try:
        result = call(subject)
    except StopIteration as stop:
        msg = "the handler raised StopIteration"
        raise RuntimeError(msg) from stop
    if inspect.iscoroutine(result):
        result.close()
        msg = "expected an `async def` handler or one that returns None, got a plain function that returns a coroutine"
        raise TypeError(msg)
    return result


def expect_nothing(result: object) -> None:
    """A handler says what it has to say by raising; an answer meant for somebody else must not pass for success."""
    if result is not None:
        msg = f"expected a handler to return None, got {type(result).__name__}"
        raise TypeError(msg)


def is_being_cancelled() -> bool:
    """Say whether somebody cancelled the task that runs, rather than the handler itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def cancellation(timeout: float | None) -> Exception:
    """Return what a cancelled attempt failed of: its time-out in seconds, or None where it had none of its own."""
    if timeout is None:
        return RuntimeError("the handler raised CancelledError although nobody cancelled it")
    return TimeoutError(f"expected the handler to end within {timeout:g} s")
