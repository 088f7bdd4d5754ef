"""Containers: warm, frozen, thawed, killed; and what a handler may see of it."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta
from typing import Any

import pytest

from streamkit.testing import run_virtual
from streamkit.testing.mapping import Context, Faults, Handler, LambdaFunction, run_mapped

EVENT: dict[str, Any] = {"Records": []}
SECOND = timedelta(seconds=1)


def test_a_warm_container_keeps_its_module_and_a_cold_one_has_its_own() -> None:
    """One after the other share a container; two at once do not."""

    def cold() -> Handler:
        calls: list[str] = []

        async def handler(_event: object, context: Context) -> int:
            calls.append(context.aws_request_id)
            await asyncio.sleep(1)
            return len(calls)

        return handler

    async def main() -> list[object]:
        function = LambdaFunction(cold)
        answers = [(await function.invoke(EVENT)).answer for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            twins = [group.create_task(function.invoke(EVENT)) for _ in range(2)]
        return [*answers, *(twin.result().answer for twin in twins)]

    assert run_mapped(main) == [1, 2, 3, 4, 1]


def test_a_cold_start_takes_time_and_none_of_the_time_out() -> None:
    """Lambda gives the import ten seconds of its own."""

    async def handler(_event: object, context: Context) -> int:
        await asyncio.sleep(0.5)
        return context.get_remaining_time_in_millis()

    async def main() -> tuple[object, float]:
        function = LambdaFunction(lambda: handler, timeout=SECOND, cold_start=5 * SECOND)
        outcome = await function.invoke(EVENT)
        return outcome.answer, asyncio.get_running_loop().time()

    assert run_mapped(main) == (500, 5.5)


def test_an_exception_while_importing_fails_the_invocation_and_the_next_one_imports_anew() -> None:
    """A module that cannot be imported fails each time, in a container of its own."""
    imports: list[int] = []

    def cold() -> Handler:
        imports.append(1)
        raise ImportError("no such module")

    async def main() -> list[str]:
        function = LambdaFunction(cold)
        return [(await function.invoke(EVENT)).error for _ in range(2)]

    assert run_mapped(main) == ["ImportError: no such module"] * 2
    assert len(imports) == 2


def test_a_time_out_kills_the_container_and_nothing_of_it_runs_on() -> None:
    """Not its background tasks, not its `finally`; the next invocation starts cold."""
    after: list[str] = []

    async def background() -> None:
        await asyncio.sleep(20)
        after.append("background")

    async def handler(_event: object, _context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(background())
            try:
                await asyncio.sleep(20)
            finally:
                after.append("finally")

    async def main() -> tuple[list[str], list[str]]:
        function = LambdaFunction(lambda: handler, timeout=10 * SECOND)
        kinds = [(await function.invoke(EVENT)).kind for _ in range(2)]
        await asyncio.sleep(100)
        return [*kinds], after.copy()

    assert run_mapped(main) == (["timed out", "timed out"], [])


def test_what_outlives_its_invocation_is_frozen_and_thaws_into_the_next() -> None:
    """A background task has a second to go when its invocation answers; it ends within the next one, later."""
    ended: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def background() -> None:
        await asyncio.sleep(1)
        ended.append(asyncio.get_running_loop().time())

    async def handler(_event: object, _context: Context) -> None:
        if not tasks:
            tasks.append(asyncio.get_running_loop().create_task(background()))
        else:
            await asyncio.sleep(0.1)

    async def main() -> None:
        function = LambdaFunction(lambda: handler, cold_start=0 * SECOND)
        await function.invoke(EVENT)
        await asyncio.sleep(50)
        assert ended == []
        await function.invoke(EVENT)

    run_mapped(main)
    assert ended == [50.0]


def test_a_frozen_timer_that_was_cancelled_meanwhile_does_not_fire_at_the_thaw() -> None:
    """What came due while frozen is queued in its order, and what the first of it cancels is gone."""
    fired: list[str] = []

    async def handler(_event: object, _context: Context) -> None:
        loop = asyncio.get_running_loop()
        if not fired:
            fired.append("set")
            second = loop.call_later(2, fired.append, "second")
            loop.call_later(1, second.cancel)
        await asyncio.sleep(0)

    async def main() -> None:
        function = LambdaFunction(lambda: handler)
        await function.invoke(EVENT)
        await asyncio.sleep(50)
        await function.invoke(EVENT)
        await asyncio.sleep(50)

    run_mapped(main)
    assert fired == ["set"]


def test_a_zombie_goes_on_within_a_later_invocation() -> None:
    """A time-out that freezes: the old attempt's effect comes in the middle of the next one's."""
    effects: list[str] = []

    async def handler(_event: object, _context: Context) -> None:
        mine = f"invocation {len(effects) + 1}"
        effects.append(f"{mine} begins")
        await asyncio.sleep(15 if len(effects) == 1 else 1)
        effects.append(f"{mine} ends")

    async def main() -> list[str]:
        function = LambdaFunction(lambda: handler, timeout=10 * SECOND, faults=Faults(zombies=1.0))
        first = await function.invoke(EVENT)
        await asyncio.sleep(60)
        second = await function.invoke(EVENT)
        return [first.kind, second.kind]

    assert run_mapped(main) == ["timed out", "answered"]
    assert effects == ["invocation 1 begins", "invocation 2 begins", "invocation 1 ends", "invocation 2 ends"]


def test_a_crash_ends_an_invocation_in_the_middle() -> None:
    """Before its effect, in all of these."""
    effects: list[int] = []

    async def handler(_event: object, _context: Context) -> None:
        await asyncio.sleep(2)
        effects.append(1)

    async def main() -> set[str]:
        function = LambdaFunction(lambda: handler, faults=Faults(crashed=1.0, within=2 * SECOND))
        return {(await function.invoke(EVENT)).kind for _ in range(20)}

    assert run_mapped(main) == {"crashed"}
    assert effects == []


def test_a_stalled_container_goes_on_late_or_times_out() -> None:
    """Half of these stand still for longer than there is time left."""

    async def handler(_event: object, _context: Context) -> None:
        for _ in range(30):
            await asyncio.sleep(0.1)

    async def main() -> list[str]:
        function = LambdaFunction(lambda: handler, timeout=10 * SECOND, faults=Faults(stalled=1.0))
        return [(await function.invoke(EVENT)).kind for _ in range(40)]

    kinds = run_mapped(main)
    assert {*kinds} == {"answered", "timed out"}


@pytest.mark.parametrize(
    ("answer", "kind"), [({"a": [1, None]}, "answered"), (b"bytes", "failed"), ({1, 2}, "failed"), (object(), "failed")]
)
def test_an_answer_goes_through_json(answer: object, kind: str) -> None:
    """What is no JSON is an error of the function, as in Lambda's own runtime."""

    async def main() -> tuple[str, object]:
        outcome = await LambdaFunction.of(lambda _event, _context: answer).invoke(EVENT)
        return outcome.kind, outcome.answer

    assert run_mapped(main) == (kind, answer if kind == "answered" else None)


def test_a_handler_may_change_its_event() -> None:
    """Each invocation gets one of its own."""

    def handler(event: dict[str, Any], _context: Context) -> int:
        event["Records"].append(1)
        return len(event["Records"])

    async def main() -> list[object]:
        function = LambdaFunction.of(handler)
        return [(await function.invoke(EVENT)).answer for _ in range(2)]

    assert run_mapped(main) == [1, 1]


def test_the_context_tells_what_lambdas_does() -> None:
    """The attributes that handlers and libraries read."""

    def handler(_event: object, context: Context) -> dict[str, object]:
        return {name: getattr(context, name) for name in dir(context) if not name.startswith(("_", "get"))}

    async def main() -> object:
        return (await LambdaFunction.of(handler).invoke(EVENT)).answer

    answer = run_mapped(main)
    assert isinstance(answer, dict)
    assert answer.pop("aws_request_id").count("-") == 4
    assert answer == {
        "client_context": None,
        "function_name": "function",
        "function_version": "$LATEST",
        "identity": None,
        "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:function",
        "log_group_name": "/aws/lambda/function",
        "log_stream_name": "function-0",
        "memory_limit_in_mb": 128,
    }


def test_a_function_needs_a_loop_with_containers() -> None:
    """Anywhere else it says what to call."""

    async def main() -> None:
        LambdaFunction.of(lambda _event, _context: None)

    with pytest.raises(TypeError, match="expected to run under run_mapped, got a VirtualLoop"):
        run_virtual(main)


def test_a_world_without_any_context_variable_is_not_taken_for_a_container() -> None:
    """As in a plain script: an empty context is false, and must not pass for none."""

    async def main() -> list[str]:
        function = LambdaFunction.of(lambda _event, _context: None)
        return [(await function.invoke(EVENT)).kind for _ in range(2)]

    assert contextvars.Context().run(run_mapped, main) == ["answered", "answered"]
