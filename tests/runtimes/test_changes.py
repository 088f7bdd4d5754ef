"""Workers on a table's changes, in virtual days: rolling, splitting, relabelled streams, crashes, trimming."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from streamkit import Change, Checkpoint, Consumer, DynamoDBStream, Kinesis, Poison, Sqs, consumer
from streamkit.aws import change_source
from streamkit.core.lineage import CROSSING
from streamkit.errors import ConfigurationError
from streamkit.testing.dynamodb_streams.values import item
from tests.runtimes.cluster import LEASE, Cluster, simulate

HOUR = 120.0
"""Days of these tests are 48 minutes long, for the sake of the machine: 24 of these."""


@pytest.fixture(autouse=True)
def short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the adapter too how long changes live."""
    monkeypatch.setattr(change_source, "RETENTION", timedelta(seconds=24 * HOUR))


class Seen:
    """A consumer of the cluster's table, and what it saw."""

    def __init__(self, cluster: Cluster, *, slow: float = 0.0) -> None:
        self.cluster = cluster
        self.slow = slow
        self.turns: dict[str, list[int]] = defaultdict(list)
        """By item: the turns of its changes, in the order of their effects."""
        self.at: dict[tuple[str, int], float] = {}
        streams = cluster.world.changing.streams
        streams.roll_seconds, streams.retention_seconds = 4 * HOUR, 24 * HOUR

    @property
    def consumer(self) -> Consumer:
        """What a worker runs."""

        @consumer(
            "cluster",
            source=DynamoDBStream("stream"),
            dead_letters=Sqs("dead"),
            checkpoint=Checkpoint(lease=LEASE),
        )
        async def note(change: Change) -> None:
            if self.slow:
                await asyncio.sleep(random.Random(change.id).random() * self.slow)
            name = str(change.keys["id"])
            turn = (change.new or {})["turn"]
            assert isinstance(turn, int)
            if turn < 0:
                raise Poison("a turn before the first")
            self.turns[name].append(turn)
            self.at.setdefault((name, turn), self.cluster.loop.time())

        return note

    def put(self, turns: range, *, items: int = 8) -> None:
        """Write each turn to each item."""
        for turn in turns:
            for number in range(items):
                self.cluster.world.changing.put({"id": f"item-{number}", "turn": turn})

    def complete(self, turns: int, *, items: int = 8) -> bool:
        """Whether every item had all its turns."""
        return all(set(self.turns[f"item-{number}"]) == set(range(turns)) for number in range(items))

    def expect_order(self) -> None:
        """First effects of each item came in the order of writing."""
        for turns in self.turns.values():
            firsts = list(dict.fromkeys(turns))
            assert firsts == sorted(firsts)


def test_changes_are_handled_in_order_over_rolling_and_splitting_shards() -> None:
    """A day of shards that roll every four hours, three workers, one of them killed: all of it, in order per item."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster, slow=0.5)
        changing = cluster.world.changing
        workers = [cluster.start(seen.consumer) for _ in range(3)]
        for hour in range(12):
            seen.put(range(5 * hour, 5 * hour + 5))
            if hour % 6 == 2:
                stream = changing.streams.enabled("stream")
                assert stream
                changing.streams.split(stream.open[0].id)
            if hour == 9:
                workers[1].kill()
            await asyncio.sleep(HOUR)
        await cluster.until(lambda: seen.complete(60))
        seen.expect_order()
        assert len({event.shard for event in cluster.events("shard.ended")}) >= 6
        assert cluster.events("records.trimmed") == []
        assert changing.streams.overlaps == 0

    simulate(main, shards=2)


def test_a_stream_enabled_again_is_followed_after_the_old_one() -> None:
    """Nothing of the younger stream is handled before all of the older is, however slow that one's handlers are."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster, slow=3.0)
        changing = cluster.world.changing
        seen.put(range(5))
        workers = [cluster.start(seen.consumer) for _ in range(2)]
        await cluster.until(lambda: bool(seen.turns))
        changing.disable()
        changing.put({"id": "item-0", "turn": 99})  # no stream has this one
        await asyncio.sleep(1)
        changing.enable(shards=3)
        seen.put(range(5, 9))
        workers[0].kill()
        await cluster.until(lambda: seen.complete(9))
        seen.expect_order()
        old = max(at for (_, turn), at in seen.at.items() if turn < 5)
        young = min(at for (_, turn), at in seen.at.items() if turn >= 5)
        assert old < young
        [renewed] = {(event.stream, event.before < event.label) for event in cluster.events("stream.renewed")}
        assert renewed == ("stream", True)
        rows = cluster.world.table.shard_rows
        assert [row.state for row in rows.values() if row.id.startswith(CROSSING)] == ["ended"]

    simulate(main, shards=2)


def test_a_worker_started_after_the_renewal_finds_both_streams() -> None:
    """The chain is in the listing, not in anybody's memory."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        first = cluster.start(seen.consumer)
        seen.put(range(3))
        await cluster.until(lambda: seen.complete(3))
        first.drain()
        await cluster.until(first.task.done)
        seen.put(range(3, 5))
        cluster.world.changing.disable()
        await asyncio.sleep(HOUR)
        cluster.world.changing.enable()
        seen.put(range(5, 7))
        cluster.start(seen.consumer)
        await cluster.until(lambda: seen.complete(7))
        seen.expect_order()
        assert all(len(turns) == 7 for turns in seen.turns.values())

    simulate(main)


def test_a_table_made_again_is_refused() -> None:
    """Its rows would be about another table's changes (rules 10, 13)."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        worker = cluster.start(seen.consumer)
        seen.put(range(1))
        await cluster.until(lambda: seen.complete(1))
        worker.drain()
        await cluster.until(worker.task.done)
        cluster.world.changing.delete()
        await asyncio.sleep(HOUR)
        cluster.world.changing.create()
        with pytest.raises(ExceptionGroup) as refused:
            await cluster.start(seen.consumer).task
        [error] = refused.value.exceptions
        assert isinstance(error, ConfigurationError)
        assert "a different stream" in str(error)

    simulate(main)


def test_what_was_trimmed_unread_is_reported_with_its_range() -> None:
    """A consumer that slept for longer than a day goes on with the oldest there is, loudly (rule 14)."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        worker = cluster.start(seen.consumer)
        seen.put(range(2))
        await cluster.until(lambda: seen.complete(2))
        worker.drain()
        await cluster.until(worker.task.done)
        await asyncio.sleep(HOUR)
        seen.put(range(2, 4))
        await asyncio.sleep(25 * HOUR)
        seen.put(range(4, 6))
        cluster.start(seen.consumer)
        await cluster.until(lambda: all(turns[-1] == 5 for turns in seen.turns.values()))
        assert all(turns == [0, 1, 4, 5] for turns in seen.turns.values())
        trimmed = cluster.events("records.trimmed")
        assert trimmed
        assert trimmed[0].after is not None

    simulate(main)


def test_a_consumer_that_was_caught_up_reports_no_gap_after_a_quiet_day() -> None:
    """Positions that were trimmed are no loss where nothing was written behind them."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        cluster.start(seen.consumer)
        seen.put(range(2))
        await cluster.until(lambda: seen.complete(2))
        await asyncio.sleep(30 * HOUR)
        seen.put(range(2, 4))
        await cluster.until(lambda: seen.complete(4))
        assert cluster.events("records.trimmed") == []
        assert cluster.events("shard.failed") == []

    simulate(main)


def test_rows_of_shards_that_are_long_over_are_forgotten() -> None:
    """Shards roll for ever and every worker reads all rows: those that no listing has use for go, and nothing else."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        cluster.world.changing.streams.roll_seconds = HOUR
        cluster.start(seen.consumer)
        for hour in range(30):
            seen.put(range(hour, hour + 1), items=2)
            await asyncio.sleep(HOUR)
        await cluster.until(lambda: seen.complete(30, items=2))
        rows = cluster.world.table.shard_rows
        listed = {shard["ShardId"] for shard in described(cluster)}
        assert len(listed - rows.keys()) <= 1  # the youngest may not have been found yet
        assert len(cluster.events("shard.ended")) >= 28
        assert len(rows) <= len(listed) + 2
        assert all(len(turns) == 30 for turns in seen.turns.values())
        assert cluster.events("records.trimmed") == []

    def described(cluster: Cluster) -> list[dict[str, Any]]:
        streams = cluster.world.changing.streams
        [stream] = streams.list_streams()["Streams"]
        found: list[dict[str, Any]] = streams.describe_stream(stream_arn=stream["StreamArn"])["StreamDescription"][
            "Shards"
        ]
        return found

    simulate(main)


def test_half_a_retention_behind_is_an_alarm() -> None:
    """Twelve hours before the service drops what nobody has settled, once a minute, with the age."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster, slow=1000 * HOUR)
        made = seen.consumer.using(handler_timeout=timedelta(days=30))
        cluster.start(made)
        seen.put(range(1), items=1)
        await asyncio.sleep(11.9 * HOUR)
        assert cluster.events("records.aged") == []
        await asyncio.sleep(0.2 * HOUR)
        alarms = cluster.events("records.aged")
        assert alarms
        assert alarms[0].age_seconds >= 12 * HOUR
        assert alarms[0].retention_seconds == 24 * HOUR

    simulate(main)


def test_latest_means_from_the_first_look_on() -> None:
    """What was written seconds before is not handled; what comes after is, a crash before any checkpoint or not."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        seen.put(range(3))
        await asyncio.sleep(5)
        made = seen.consumer.using(source=DynamoDBStream("stream", start="LATEST"))
        worker = cluster.start(made)
        await asyncio.sleep(3)
        worker.kill()
        seen.put(range(3, 5))
        cluster.start(made)
        await cluster.until(lambda: all(len(seen.turns[f"item-{n}"]) >= 2 for n in range(8)))
        assert all(turns == [3, 4] for turns in seen.turns.values())

    simulate(main)


def test_a_dead_letter_holds_the_whole_change() -> None:
    """Its payload is the change's JSON: what a person or a redrive needs."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        cluster.start(seen.consumer)
        cluster.world.changing.put({"id": "bad", "turn": -1})
        await cluster.until(lambda: bool(cluster.world.letters.letters))
        [letter] = cluster.world.letters.letters
        assert letter.record.json()["dynamodb"]["NewImage"] == {"id": {"S": "bad"}, "turn": {"N": "-1"}}
        assert letter.record.key == '{"id":{"S":"bad"}}'

    simulate(main)


def test_a_hand_over_leaves_one_reader_of_a_shard() -> None:
    """The service lets two read: the old owner has stopped when its successor begins, so one consumer uses one."""

    async def main(cluster: Cluster) -> None:
        seen = Seen(cluster)
        cluster.start(seen.consumer)
        seen.put(range(3))
        await cluster.until(lambda: seen.complete(3))
        for turn in range(3, 20):
            seen.put(range(turn, turn + 1))
            if turn == 5:
                cluster.start(seen.consumer)
            if turn == 12:
                cluster.processes[0].drain()
            await asyncio.sleep(2)
        await cluster.until(lambda: seen.complete(20))
        assert len(cluster.events("shard.released")) >= 2
        assert all(len(turns) == 20 for turns in seen.turns.values())
        assert cluster.world.changing.streams.overlaps == 0

    simulate(main, shards=4)


def test_changes_inside_of_kinesis_records_are_the_same_changes() -> None:
    """`Kinesis(stream, changes=True)`: handlers see `Change`; what carries none is a dead letter."""

    async def main(cluster: Cluster) -> None:
        got: list[Change] = []

        @consumer("cluster", source=Kinesis("stream", changes=True), dead_letters=Sqs("dead"))
        async def note(change: Change) -> None:
            got.append(change)

        cluster.start(note)
        body = {
            "ApproximateCreationDateTime": 1_356_998_400_123_456,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": item({"id": "a"}),
            "NewImage": item({"id": "a", "n": 1}),
        }
        entry = {"eventID": "e1", "eventName": "INSERT", "tableName": "flights", "dynamodb": body}
        cluster.world.stream.put("AB12", entry)
        cluster.world.stream.put("CD34", b"no change")
        await cluster.until(lambda: bool(got and cluster.world.letters.letters))
        [change] = got
        assert (change.event, change.keys, change.new, change.old) == ("INSERT", {"id": "a"}, {"id": "a", "n": 1}, None)
        assert (change.key, change.id, change.changed) == ('{"id":{"S":"a"}}', "stream:e1", 1_356_998_400.123456)
        [letter] = cluster.world.letters.letters
        assert (letter.record.data, letter.verdict.condition) == (b"no change", "Undecodable")

    simulate(main)
