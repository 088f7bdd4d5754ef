"""What a function answers, and what it remembers from one delivery to the next (rule 24)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Literal

import pytest

from streamkit import Kinesis, Poison, Retry, Unavailable
from streamkit.consumer import DynamoDBStream
from streamkit.core.records import Batch
from streamkit.errors import ConfigurationError, MalformedEvent, Throttled, Unsettled
from streamkit.testing import aggregate, run_virtual
from tests.functions.stage import MODES, SETTLED, SHARD, Stage, batch_numbers, changes, first, kinesis, sequence

TABLE = DynamoDBStream("flights")
Play = Callable[[Stage], Coroutine[object, object, None]]


def staged(factor: int | None, play: Play, **settings: Any) -> None:
    """Play in virtual time."""

    async def main() -> None:
        await play(Stage(parallelization_factor=factor, **settings))

    run_virtual(main)


both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])


@both
def test_a_clean_batch_is_settled(factor: int | None) -> None:
    """Every record once, in order, and no failure in the answer."""

    async def play(stage: Stage) -> None:
        assert await stage.invoke(kinesis(*range(100))) == SETTLED
        assert sorted(stage.effects) == list(range(100))
        assert stage.order_holds()

    staged(factor, play)


@pytest.mark.parametrize(("factor", "requests"), [(1, 2), (None, 3)])
@pytest.mark.parametrize("records", [1, 100, 2_000])
def test_a_clean_batch_costs_few_requests_whatever_its_size(factor: int | None, requests: int, records: int) -> None:
    """Two where the factor is declared to be one, three where it is not: a claim, a look, a settlement."""

    async def play(stage: Stage) -> None:
        await stage.invoke(kinesis(*range(records), apart=0.001))
        assert stage.cost == requests

    staged(factor, play)


@pytest.mark.parametrize(
    ("source", "factor", "event", "most"),
    [(Kinesis("stream"), 1, kinesis, 20), (Kinesis("stream"), 10, kinesis, 200), (TABLE, None, changes, 200)],
    ids=["declared factor of 1", "any factor", "changes"],
)
def test_a_thousand_records_cost_at_most_a_tenth_of_powertools_requests(
    source: Any, factor: int | None, event: Any, most: int
) -> None:
    """Its idempotency makes 2,000, one by one. Here in Lambda's default batches of 100; they cross slots of time."""

    async def play(stage: Stage) -> None:
        for batch in range(10):
            made = event(*range(100 * batch, 100 * batch + 100))
            assert await stage.invoke(made) == SETTLED
        assert len(stage.effects) == 1_000
        assert stage.cost <= most

    staged(factor, play, source=source)


@both
def test_what_was_settled_is_not_handled_again(factor: int | None) -> None:
    """The answer was lost, the batch comes again, whole, in halves, or in another company."""

    async def play(stage: Stage) -> None:
        await stage.invoke(kinesis(*range(20)))
        for again in (range(20), range(10), range(10, 20), range(5, 30)):
            assert await stage.invoke(kinesis(*again)) == SETTLED
        assert sorted(stage.effects) == list(range(30))

    staged(factor, play)


@both
def test_one_bad_record_of_a_hundred_costs_one_dead_letter(factor: int | None) -> None:
    """One delivery, no repeats, no good record left out."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number == 42:
                raise ValueError("bad")

        stage.behaviour = behave
        assert await stage.delivered(range(100)) == 1
        assert stage.dead == [42]
        assert sorted(stage.effects) == [number for number in range(100) if number != 42]
        assert stage.runs.count(42) == 3

    staged(factor, play)


@both
def test_the_answer_names_the_first_record_that_is_not_settled(factor: int | None) -> None:
    """What ran ahead of it is remembered: the next delivery handles only the rest."""

    async def play(stage: Stage) -> None:
        stuck = True

        async def behave(number: int) -> None:
            if number == 7 and stuck:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        assert first(await stage.invoke(kinesis(*range(20)), seconds=10)) == 7
        assert sorted(stage.effects) == [n for n in range(20) if n % 5 != 2 or n < 7]
        stuck = False
        assert await stage.invoke(kinesis(*range(7, 20)), seconds=10) == SETTLED
        assert sorted(stage.effects) == list(range(20))
        assert stage.order_holds()

    staged(factor, play)


@both
def test_an_answer_that_arrives_too_late_repeats_nothing(factor: int | None) -> None:
    """Lambda did not hear the first answer and delivers all of it again: still only the rest is handled."""

    async def play(stage: Stage) -> None:
        stuck = True

        async def behave(number: int) -> None:
            if number == 7 and stuck:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        await stage.invoke(kinesis(*range(20)), seconds=10)
        stuck = False
        assert await stage.invoke(kinesis(*range(15)), seconds=10) == SETTLED
        assert await stage.invoke(kinesis(*range(20)), seconds=10) == SETTLED
        assert sorted(stage.effects) == list(range(20))
        assert stage.order_holds()

    staged(factor, play)


@both
def test_without_partial_responses_declared_it_raises_while_anything_is_unsettled(factor: int | None) -> None:
    """Whether Lambda would understand cannot be seen from inside: raising loses nothing. It says what to declare."""

    async def play(stage: Stage) -> None:
        down = True

        def behave(number: int) -> None:
            if number == 3 and down:
                raise Unavailable("not now", retry_after=timedelta(hours=1))

        stage.behaviour = behave
        with pytest.raises(Unsettled, match="STREAMKIT_PARTIAL_RESPONSES"):
            await stage.invoke(kinesis(*range(10)), partial_responses=False)
        down = False
        assert await stage.invoke(kinesis(*range(10)), partial_responses=False) == SETTLED
        assert sorted(stage.effects) == list(range(10))

    staged(factor, play)


@both
def test_attempts_go_on_counting_in_the_next_delivery(factor: int | None) -> None:
    """A record that fails once a delivery, because there is no time for more, is given up in the third."""

    async def play(stage: Stage) -> None:
        async def behave(number: int) -> None:
            if number == 4:
                await asyncio.sleep(6)
                raise ValueError("bad")

        stage.behaviour = behave
        assert await stage.delivered(range(10), seconds=10) == 3
        assert stage.dead == [4]
        assert stage.world.letters.letters[0].verdict.attempts == 3
        assert not stage.repeated()
        assert sorted(stage.effects) == [n for n in range(10) if n != 4]

    staged(factor, play, retry=Retry(attempts=3, initial=timedelta(seconds=9), maximum=timedelta(seconds=9)))


@both
def test_a_batch_that_takes_longer_than_there_is_time_is_halved_over_deliveries(factor: int | None) -> None:
    """Batches shrink until they fit into the time there is; a record that alone takes longer ends in the queue."""

    async def play(stage: Stage) -> None:
        async def handle(batch: Batch) -> None:
            numbers = batch_numbers(batch)
            await asyncio.sleep(sum(1_000 if number == 3 else 2 for number in numbers))
            stage.effects += numbers

        stage.handler = handle
        stage.batches = True
        assert await stage.delivered(range(5), seconds=6) <= 12
        assert stage.dead == [3]
        assert sorted(stage.effects) == [0, 1, 2, 4]

    staged(factor, play, retry=Retry(attempts=2))


@both
def test_an_outage_condemns_nothing_however_often_it_is_delivered(factor: int | None) -> None:
    """Everything fails for hours; then everything takes effect, once and in order."""

    async def play(stage: Stage) -> None:
        down = True

        def behave(_: int) -> None:
            if down:
                raise ConnectionError("the world is down")

        stage.behaviour = behave
        for _ in range(30):
            assert first(await stage.invoke(kinesis(*range(20)), seconds=30)) == 0
        assert stage.dead == []
        assert len(stage.runs) < 300
        down = False
        assert await stage.invoke(kinesis(*range(20))) == SETTLED
        assert (sorted(stage.effects), stage.order_holds()) == (list(range(20)), True)

    staged(factor, play)


@both
def test_after_the_limit_of_an_outage_attempts_count_again(factor: int | None) -> None:
    """A producer whose every record is bad looks like an outage too: over deliveries its time is remembered."""

    async def play(stage: Stage) -> None:
        def behave(_: int) -> None:
            raise ValueError("bad, all of them")

        stage.behaviour = behave
        began = stage.world.clock.now()
        await stage.delivered(range(10), times=200, seconds=300)
        assert stage.world.clock.now() - began > timedelta(hours=5)
        assert sorted(stage.dead) == list(range(10))

    staged(factor, play)


@both
def test_a_table_that_does_not_answer_stops_progress_and_skips_nothing(factor: int | None) -> None:
    """Nothing runs that could not be remembered; all of it comes again."""

    async def play(stage: Stage) -> None:
        stage.world.deliveries.outage = Throttled("the table is down")
        assert first(await stage.invoke(kinesis(*range(5)))) == 0
        assert stage.runs == []
        assert "memory.delayed" in stage.world.report.names
        stage.world.deliveries.outage = None
        assert await stage.invoke(kinesis(*range(5))) == SETTLED
        assert sorted(stage.effects) == list(range(5))

    staged(factor, play)


@both
def test_what_is_settled_is_settled_though_the_table_takes_no_note_of_it(factor: int | None) -> None:
    """The answer is the truth: to say otherwise would only make it run again."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number == 4:
                stage.world.deliveries.outage = Throttled("the table is down")

        stage.behaviour = behave
        assert await stage.invoke(kinesis(*range(5)), seconds=5) == SETTLED

    staged(factor, play)


@both
@pytest.mark.parametrize("trouble", ["throttled", "lost", "late"])
@pytest.mark.parametrize("request_", ["claim", "write"])
def test_requests_that_get_lost_change_nothing(
    factor: int | None, trouble: Literal["throttled", "lost", "late"], request_: Literal["claim", "write"]
) -> None:
    """Not answered, answered late, or refused for pace: sent again, and what lands late is refused."""

    async def play(stage: Stage) -> None:
        stage.world.deliveries.inject(trouble, on=request_)
        assert await stage.invoke(kinesis(*range(5))) == SETTLED
        stage.world.deliveries.land()
        assert await stage.invoke(kinesis(*range(10))) == SETTLED
        assert sorted(stage.effects) == list(range(10))
        assert "delivery.died" not in stage.world.report.names

    staged(factor, play)


@both
def test_a_dead_letter_queue_that_is_down_gives_the_record_back(factor: int | None) -> None:
    """A letter is durable before its record is settled."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number == 2:
                raise Poison("bad")

        stage.behaviour = behave
        stage.world.letters.outage = True
        assert first(await stage.invoke(kinesis(*range(5)))) == 2
        stage.world.letters.outage = False
        assert await stage.invoke(kinesis(*range(2, 5))) == SETTLED
        assert (stage.dead, stage.repeated()) == ([2], {})

    staged(factor, play)


@both
def test_halting_on_a_dead_letter_outlasts_the_invocation(factor: int | None) -> None:
    """The shard stands still until a person acts, however often the rest is delivered."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number == 2:
                raise Poison("bad")

        stage.behaviour = behave
        halted = first(await stage.invoke(kinesis(*range(50), keys=1)))
        assert halted == 3
        for _ in range(3):
            assert first(await stage.invoke(kinesis(*range(3, 50), keys=1))) == 3
        assert stage.effects == [0, 1]

    staged(factor, play, on_dead_letter="halt")


@both
def test_a_halt_that_is_lifted_lets_the_next_delivery_go_on(factor: int | None) -> None:
    """It has a row of its own: a person finds it, and what waits goes on once that is removed, to the next bad one."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number in (2, 30):
                raise Poison("bad")

        stage.behaviour = behave
        assert first(await stage.invoke(kinesis(*range(50), keys=1))) == 3
        [halt] = await stage.world.halts.standing()
        assert (halt.shard, halt.sequence) == (SHARD, sequence(3))
        assert "on_dead_letter" in halt.why
        assert first(await stage.invoke(kinesis(*range(3, 40), keys=1))) == 3
        assert list(await stage.world.halts.standing()) == [halt]
        await stage.world.halts.lift(halt)
        assert first(await stage.invoke(kinesis(*range(3, 50), keys=1))) == 31
        [another] = await stage.world.halts.standing()
        assert another.sequence == sequence(31)
        await stage.world.halts.lift(another)
        assert await stage.invoke(kinesis(*range(31, 50), keys=1)) == SETTLED
        assert stage.effects == [number for number in range(50) if number not in (2, 30)]

    staged(factor, play, on_dead_letter="halt")


@both
def test_of_an_aggregate_only_what_is_not_settled_comes_again(factor: int | None) -> None:
    """The answer can name the whole of it only; its user records are remembered one by one."""

    async def play(stage: Stage) -> None:
        stuck = True

        async def behave(number: int) -> None:
            if number == 3 and stuck:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        event = kinesis(7, 8, data=lambda of: aggregate([(f"key-{n}", of * 10 + n - 70) for n in range(6)]))
        assert first(await stage.invoke(event, seconds=10)) == 7
        stuck = False
        assert await stage.invoke(event, seconds=10) == SETTLED
        assert sorted(stage.effects) == [*range(6), *range(10, 16)]

    staged(factor, play)


def test_parked_keys_outlast_the_invocation() -> None:
    """Later records of a key follow the first into the queue: kept in the shard's row, so for a factor of one only."""

    async def play(stage: Stage) -> None:
        def behave(number: int) -> None:
            if number == 2:
                raise Poison("bad")

        stage.behaviour = behave
        await stage.invoke(kinesis(*range(10)))
        await stage.invoke(kinesis(*range(10, 20)))
        assert stage.dead == [2, 7, 12, 17]
        with pytest.raises(ConfigurationError, match="parallelization_factor=1"):
            await stage.invoke(kinesis(1), parallelization_factor=None)
        with pytest.raises(ConfigurationError, match="do not tell the shard"):
            await stage.invoke(changes(1), source=DynamoDBStream("stream"))

    staged(1, play, on_dead_letter="park")


def test_changes_of_a_table_are_remembered_without_shards() -> None:
    """Events of DynamoDB do not tell the shard: memory is by record."""

    async def play(stage: Stage) -> None:
        assert await stage.invoke(changes(*range(30))) == SETTLED
        assert await stage.invoke(changes(*range(10, 40))) == SETTLED
        assert sorted(stage.effects) == list(range(40))
        assert stage.order_holds()

    staged(1, play, source=DynamoDBStream("flights"))


def test_changes_whose_numbers_do_not_ascend_are_cut_and_none_is_lost() -> None:
    """Records of several shards mixed, or one twice: each is handled once, in order of its key."""

    async def play(stage: Stage) -> None:
        numbers = [5, 6, 7, 0, 1, 2, 2, 10, 3]
        assert await stage.invoke(changes(*numbers, keys=11)) == SETTLED
        assert sorted(stage.effects) == sorted(set(numbers))

    staged(None, play, source=DynamoDBStream("flights"))


@both
def test_an_event_of_several_shards_is_settled_shard_by_shard(factor: int | None) -> None:
    """One identifier: the first entry of the event that is not settled."""

    async def play(stage: Stage) -> None:
        stuck = True

        async def behave(number: int) -> None:
            if number >= 100 and stuck:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        event = {"Records": kinesis(1, 2)["Records"] + kinesis(103, 104, shard="shardId-000000000001")["Records"]}
        assert first(await stage.invoke(event, seconds=10)) == 103
        stuck = False
        assert await stage.invoke(event, seconds=10) == SETTLED
        assert sorted(stage.effects) == [1, 2, 103, 104]

    staged(factor, play)


@both
def test_a_malformed_event_is_refused_before_anything_runs(factor: int | None) -> None:
    """A clear error, nothing dropped."""

    async def play(stage: Stage) -> None:
        event = kinesis(1, 2, 3)
        event["Records"][2]["kinesis"]["data"] = "no base64"
        with pytest.raises(MalformedEvent, match=r"\$\[2\]\.kinesis\.data"):
            await stage.invoke(event)
        with pytest.raises(MalformedEvent, match="ascend"):
            await stage.invoke(kinesis(1, 2, 2))
        with pytest.raises(MalformedEvent, match="which the consumer declares"):
            await stage.invoke(changes(1))
        assert (stage.runs, stage.cost) == ([], 0)
        assert sequence(1) == event["Records"][0]["kinesis"]["sequenceNumber"]

    staged(factor, play)
