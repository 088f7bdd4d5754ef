"""The reader of one shard: nothing skipped, nothing repeated, the quotas kept, whatever the service does."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from streamkit.aws.errors import Rejected
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.shapes import arn_region
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place, Position, Since
from streamkit.core.records import Record
from streamkit.errors import ConfigurationError, Denied, Expired, Missing, Throttled, Unanswered
from streamkit.events import ReadDelayed
from streamkit.ports import Reader
from streamkit.testing import Recorder, SeededChance, VirtualClock, run_virtual
from tests.aws.virtual import virtual

SHARD = Shard("shardId-000000000000")
START = 1_356_998_400.0


class ScriptedKinesis:
    """One shard in memory that answers at once and remembers when it was asked what.

    Iterators are the index of the next record, and die when they are 300 s old.
    """

    def __init__(self, records: int = 0, *, data: bytes = b"x", page: int = 10_000, first: int = 1000) -> None:
        self.clock = VirtualClock()
        self.records = [raw(first + 2 * index, data=data) for index in range(records)]
        self.page = page
        self.closed = False
        self.asked: list[tuple[str, float]] = []
        self.opened: list[dict[str, Any]] = []
        self.born: dict[str, float] = {}

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Answer one request."""
        self.asked.append((operation, self.clock.monotonic()))
        if operation == "GetShardIterator":
            self.opened.append(parameters)
            return {"ShardIterator": self.iterator(self.index(parameters))}
        self.before(parameters)
        start = int(parameters["ShardIterator"].partition("@")[0])
        found = self.records[start : start + min(self.page, parameters["Limit"])]
        end = start + len(found)
        answer = {"Records": found, "MillisBehindLatest": 0 if end == len(self.records) else 1000}
        if self.closed and end == len(self.records):
            children = [
                {
                    "ShardId": f"shardId-{n}",
                    "ParentShards": [SHARD.id],
                    "HashKeyRange": {"StartingHashKey": str(n), "EndingHashKey": str(n)},
                }
                for n in (1, 2)
            ]
            return {**answer, "ChildShards": children}
        return {**answer, "NextShardIterator": self.iterator(end)}

    def before(self, parameters: dict[str, Any]) -> None:
        """Refuse iterators that are too old."""
        if self.clock.monotonic() - self.born[parameters["ShardIterator"]] > 300:
            raise Expired("the iterator is too old")

    def iterator(self, index: int) -> str:
        """Make an iterator."""
        name = f"{index}@{len(self.born)}"
        self.born[name] = self.clock.monotonic()
        return name

    def index(self, parameters: dict[str, Any]) -> int:
        """Find the first record of an iterator."""
        number = int(parameters.get("StartingSequenceNumber", 0))
        match parameters["ShardIteratorType"]:
            case "AFTER_SEQUENCE_NUMBER":
                return sum(int(each["SequenceNumber"]) <= number for each in self.records)
            case "AT_SEQUENCE_NUMBER":
                return sum(int(each["SequenceNumber"]) < number for each in self.records)
            case "AT_TIMESTAMP":
                moment = parameters["Timestamp"].timestamp()
                return sum(each["ApproximateArrivalTimestamp"] < moment for each in self.records)
            case _:
                return 0

    def times(self, operation: str = "GetRecords") -> list[float]:
        """When an operation was asked for, in seconds from the first time."""
        times = [at for name, at in self.asked if name == operation]
        return [round(at - times[0], 3) for at in times]


class TroubledKinesis(ScriptedKinesis):
    """Fails before it answers, as often as it has errors."""

    def __init__(self, errors: Iterable[Exception], **shard: Any) -> None:
        super().__init__(**shard)
        self.errors: list[Exception] = [*errors]

    def before(self, parameters: dict[str, Any]) -> None:
        """Fail once more."""
        if self.errors:
            raise self.errors.pop(0)


class LosingAnswers(ScriptedKinesis):
    """Reads on, and every other answer is lost on the way."""

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Lose it."""
        answer = await super().__call__(operation, **parameters)
        if operation == "GetRecords" and len(self.asked) % 2:
            raise Unanswered("lost")
        return answer


class ForgetfulKinesis(ScriptedKinesis):
    """Takes every place for TRIM_HORIZON: not every endpoint honours moments and positions."""

    def index(self, parameters: dict[str, Any]) -> int:
        """Start over."""
        return 0


def raw(sequence: int, *, data: bytes = b"x") -> dict[str, Any]:
    """A record as the service has it, arrived at START plus its number in seconds."""
    return {
        "Data": data,
        "PartitionKey": "k",
        "SequenceNumber": str(sequence),
        "ApproximateArrivalTimestamp": START + sequence,
    }


def source_of(
    kinesis: ScriptedKinesis, report: Recorder | None = None, settings: KinesisSettings | None = None
) -> KinesisSource:
    """A source over a scripted service."""
    return KinesisSource(
        kinesis,
        stream="flights",
        clock=kinesis.clock,
        chance=SeededChance(0),
        report=report or Recorder(),
        settings=settings,
    )


def reader_of(kinesis: ScriptedKinesis, place: Place = "TRIM_HORIZON", **settings: Any) -> Reader:
    """A reader over a scripted service."""
    return source_of(kinesis, settings=KinesisSettings(**settings)).reader(SHARD, place)


async def numbers(reader: Reader, count: int, *, answers: int = 100) -> list[int]:
    """Read until there are so many records; return their numbers."""
    found: list[Record] = []
    for _ in range(answers):
        found += (await reader.read()).records
        if len(found) >= count:
            break
    return [record.sequence for record in found]


# -- quotas


@virtual
async def test_a_shard_is_asked_five_times_a_second_at_most() -> None:
    """AWS throttles the sixth; a shard that is behind is read at the full pace."""
    kinesis = ScriptedKinesis(100, page=10)
    assert len(await numbers(reader_of(kinesis), 100)) == 100
    assert kinesis.times() == pytest.approx([0.2 * call for call in range(10)])


@virtual
async def test_two_megabytes_a_second_are_not_exceeded() -> None:
    """After 1 MB the next call waits half a second; after 10 MiB AWS would throttle for five."""
    kinesis = ScriptedKinesis(4, data=bytes(1_000_000), page=1)
    await numbers(reader_of(kinesis), 4)
    assert kinesis.times() == pytest.approx([0, 0.5, 1.0, 1.5])


@virtual
async def test_an_idle_shard_is_asked_less_often() -> None:
    """A quarter of a second at first, half a second from then on; at once again when there is something."""
    kinesis = ScriptedKinesis()
    reader = reader_of(kinesis)
    for _ in range(4):
        await reader.read()
    kinesis.records.append(raw(7))
    await reader.read()
    await reader.read()
    assert kinesis.times() == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 1.95])


@virtual
async def test_a_gap_is_crossed_at_full_pace() -> None:
    """An empty answer far behind the tip is neither the end nor idleness."""
    kinesis = ScriptedKinesis(1, page=0)
    reader = reader_of(kinesis)
    for _ in range(3):
        read = await reader.read()
        assert (read.records, read.ended) == ([], False)
        assert read.behind is not None
        assert read.behind.total_seconds() == 1
    assert kinesis.times() == pytest.approx([0, 0.2, 0.4])


@virtual
async def test_nothing_is_asked_before_the_first_read() -> None:
    """Readers are free until they read."""
    kinesis = ScriptedKinesis()
    reader_of(kinesis)
    await asyncio.sleep(1)
    assert kinesis.asked == []


# -- places


@virtual
async def test_each_place_opens_its_own_kind_of_iterator() -> None:
    """After a number; at it, where only part of an aggregate is behind."""
    opened = []
    for place in ("TRIM_HORIZON", Position("1002"), Position("1002", 3)):
        kinesis = ScriptedKinesis(3)
        found = await numbers(reader_of(kinesis, place), 1)
        opened.append((kinesis.opened[0]["ShardIteratorType"], found))
    assert opened == [
        ("TRIM_HORIZON", [1000, 1002, 1004]),
        ("AFTER_SEQUENCE_NUMBER", [1004]),
        ("AT_SEQUENCE_NUMBER", [1002, 1004]),
    ]


@pytest.mark.parametrize("service", [ScriptedKinesis, ForgetfulKinesis])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Since(START + 1003), [1004, 1006]),
        (Since(START + 1004), [1004, 1006]),
        (Position("1002"), [1004, 1006]),
        (Position("1004", 0), [1004, 1006]),
    ],
)
def test_what_lies_before_the_place_is_dropped(
    service: type[ScriptedKinesis], place: Place, expected: list[int]
) -> None:
    """Even where the endpoint starts somewhere before, and cuts its answers there."""

    async def main() -> None:
        assert await numbers(reader_of(service(4, page=1), place), 2) == expected

    run_virtual(main)


@virtual
async def test_a_moment_ahead_of_the_services_clock_is_not_asked_for() -> None:
    """AWS refuses a moment in its future, which a worker's clock a little ahead would name."""
    kinesis = ScriptedKinesis()
    now = kinesis.clock.now().timestamp()
    await reader_of(kinesis, Since(now + 3600)).read()
    assert kinesis.opened[0]["Timestamp"] == datetime.fromtimestamp(now - 30, UTC)


@virtual
async def test_late_arrivals_after_the_first_new_record_are_kept() -> None:
    """Arrival times need not grow: what stands behind the first new record is new."""
    kinesis = ScriptedKinesis(3)
    kinesis.records[2]["ApproximateArrivalTimestamp"] = START
    assert await numbers(reader_of(kinesis, Since(START + 1001)), 2) == [1002, 1004]


@virtual
async def test_sequence_numbers_are_compared_as_numbers() -> None:
    """Ten comes after nine."""
    kinesis = ForgetfulKinesis(first=8, records=3)
    assert await numbers(reader_of(kinesis, Position("9")), 2) == [10, 12]


# -- expiry and renewal


@virtual
async def test_an_old_iterator_is_renewed_before_it_expires() -> None:
    """Whoever pauses for an hour with a shard in hand goes on where it was."""
    kinesis = ScriptedKinesis(4, page=2)
    reader = reader_of(kinesis)
    first = await numbers(reader, 2)
    await asyncio.sleep(3600)
    assert first + await numbers(reader, 2) == [1000, 1002, 1004, 1006]
    assert kinesis.opened[1]["StartingSequenceNumber"] == "1002"


@virtual
async def test_an_expired_iterator_is_renewed_from_the_last_record() -> None:
    """The service may forget iterators earlier than it says."""
    kinesis = TroubledKinesis([], records=6, page=2)
    reader = reader_of(kinesis)
    first = await numbers(reader, 2)
    kinesis.errors += [Expired("too old"), Expired("too old")]
    assert first + await numbers(reader, 4) == [1000, 1002, 1004, 1006, 1008, 1010]
    assert [each["ShardIteratorType"] for each in kinesis.opened] == [
        "TRIM_HORIZON",
        "AFTER_SEQUENCE_NUMBER",
        "AFTER_SEQUENCE_NUMBER",
    ]


@virtual
async def test_an_iterator_that_expires_before_anything_was_read_is_opened_where_it_was() -> None:
    """From the original place, so that nothing put meanwhile is skipped."""
    kinesis = ScriptedKinesis()
    reader = reader_of(kinesis, Since(START - 1000))
    await reader.read()
    await asyncio.sleep(3600)
    kinesis.records = [raw(1000), raw(1002)]
    assert await numbers(reader, 2) == [1000, 1002]
    assert kinesis.opened[0] == kinesis.opened[1]


# -- trouble


@virtual
async def test_throttling_is_waited_out_with_growing_waits() -> None:
    """With full jitter up to a limit; nothing is lost, and only some of it is reported."""
    recorder = Recorder()
    kinesis = TroubledKinesis([Throttled("slow down")] * 25, records=3)
    reader = source_of(kinesis, recorder).reader(SHARD, "TRIM_HORIZON")
    assert await numbers(reader, 3) == [1000, 1002, 1004]
    events = [event for event in recorder.events if isinstance(event, ReadDelayed)]
    assert [event.error for event in events] == ["Throttled"] * 3
    waits = [later - earlier for earlier, later in zip(kinesis.times(), kinesis.times()[1:], strict=False)]
    assert max(waits) <= 10
    assert sum(waits[-5:]) > sum(waits[:5])
    assert min(waits) >= 0.199


@virtual
async def test_lost_answers_lose_no_record() -> None:
    """The place moves with the answers that came, not with those the service sent."""
    kinesis = LosingAnswers(50, page=5)
    assert await numbers(reader_of(kinesis), 50) == [1000 + 2 * index for index in range(50)]


@virtual
async def test_a_cancelled_read_changes_nothing() -> None:
    """Cancelled while it waits or while it asks: the next read returns what this one would have."""
    kinesis = ScriptedKinesis(30, page=3)
    reader = reader_of(kinesis)
    found: list[int] = []
    for _ in range(100):
        try:
            async with asyncio.timeout(0.13):
                found += [record.sequence for record in (await reader.read()).records]
        except TimeoutError:
            continue
    assert found == [1000 + 2 * index for index in range(30)]


@pytest.mark.parametrize("error", [Missing, Denied, Rejected])
def test_what_waiting_does_not_mend_is_raised_with_stream_and_shard(error: type[Exception]) -> None:
    """A stream that is gone is not the end of a shard (rule 13)."""

    async def main() -> None:
        kinesis = TroubledKinesis([error("kinesis:GetRecords said no")])
        with pytest.raises(error, match="stream flights, shard shardId-000000000000: kinesis:GetRecords"):
            await reader_of(kinesis).read()

    run_virtual(main)


# -- records


@virtual
async def test_records_over_the_limit_have_a_defect() -> None:
    """They become dead letters, not crashes; those at the limit are fine."""
    kinesis = ScriptedKinesis()
    kinesis.records = [raw(1, data=bytes(100)), raw(2, data=bytes(101)), raw(3)]
    read = await reader_of(kinesis, max_record_bytes=100).read()
    assert [record.defect for record in read.records] == [None, "expected at most 100 bytes, got 101", None]


@virtual
async def test_moments_may_come_as_datetimes() -> None:
    """Where the SDK's own parser was at work."""
    kinesis = ScriptedKinesis(2)
    for each in kinesis.records:
        each["ApproximateArrivalTimestamp"] = datetime.fromtimestamp(START + 0.5, UTC)
    read = await reader_of(kinesis).read()
    assert [record.arrived for record in read.records] == [START + 0.5] * 2


@virtual
async def test_a_closed_shard_ends_with_its_last_records_and_its_children() -> None:
    """And asked again it costs no request."""
    kinesis = ScriptedKinesis(2)
    kinesis.closed = True
    reader = reader_of(kinesis)
    read = await reader.read()
    assert [record.sequence for record in read.records] == [1000, 1002]
    assert read.ended
    assert read.children == (Shard("shardId-1", (SHARD.id,), (1, 1)), Shard("shardId-2", (SHARD.id,), (2, 2)))
    again = await reader.read()
    assert (again.records, again.ended, again.children) == ((), True, read.children)
    assert len(kinesis.times()) == 1


# -- the stream itself


class StreamOf:
    """Answers from a list, failing first as often as told."""

    def __init__(self, *answers: dict[str, Any], errors: Iterable[Exception] = ()) -> None:
        self.answers = list(answers)
        self.errors = list(errors)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Answer the next."""
        self.asked.append((operation, parameters))
        if self.errors:
            raise self.errors.pop(0)
        return self.answers.pop(0)


def over(call: StreamOf, stream: str = "flights") -> KinesisSource:
    """A source over canned answers."""
    return KinesisSource(call, stream=stream, clock=VirtualClock(), chance=SeededChance(0), report=Recorder())


def listed(name: str, **parents: str) -> dict[str, Any]:
    """A shard as ListShards has it."""
    return {"ShardId": name, "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}, **parents}


@virtual
async def test_a_listing_is_paged_to_its_end() -> None:
    """Pages after the first are asked for by token alone: AWS refuses both."""
    call = StreamOf(
        {"Shards": [listed("a"), listed("b", ParentShardId="a")], "NextToken": "more"},
        {"Shards": [listed("c", ParentShardId="a", AdjacentParentShardId="b")]},
        errors=[Throttled("slow down")],
    )
    assert list(await over(call).shards()) == [
        Shard("a", (), (0, 9)),
        Shard("b", ("a",), (0, 9)),
        Shard("c", ("a", "b"), (0, 9)),
    ]
    assert [parameters for _, parameters in call.asked[1:]] == [
        {"StreamName": "flights"},
        {"NextToken": "more"},
    ]


@virtual
async def test_asking_for_the_stream_is_given_up_after_a_few_tries() -> None:
    """The caller decides what an outage at the start means."""
    call = StreamOf(errors=[Throttled("slow down")] * 9)
    with pytest.raises(Throttled):
        await over(call).identify()
    assert len(call.asked) == 5


@virtual
async def test_a_stream_is_identified_by_its_creation() -> None:
    """Whichever way the SDK names the moment; by ARN where it was given by ARN."""
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/flights"
    for created in (START + 0.123, datetime.fromtimestamp(START + 0.123, UTC)):
        summary = {
            "StreamARN": arn,
            "StreamStatus": "ACTIVE",
            "StreamCreationTimestamp": created,
            "RetentionPeriodHours": 24,
        }
        call = StreamOf({"StreamDescriptionSummary": summary})
        stream = await over(call, arn).identify()
        assert (stream.name, stream.arn, stream.incarnation) == ("flights", arn, "1356998400123")
        assert call.asked == [("DescribeStreamSummary", {"StreamARN": arn})]


@virtual
async def test_a_stream_on_its_way_out_is_missing() -> None:
    """What is being deleted cannot be consumed."""
    call = StreamOf({"StreamDescriptionSummary": {"StreamStatus": "DELETING"}})
    with pytest.raises(Missing, match="stream flights is being deleted"):
        await over(call).identify()


@pytest.mark.parametrize("arn", ["arn:aws:sqs:us-east-1:123456789012:flights", "arn:aws:kinesis:us-east-1:1:stream/"])
def test_an_arn_of_something_else_is_a_configuration_error(arn: str) -> None:
    """It says what an ARN of a stream looks like."""

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"expected a stream like 'arn:aws:kinesis:.*got 'arn:aws"):
            over(StreamOf(), arn)

    run_virtual(main)


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("arn:aws:kinesis:eu-central-1:123456789012:stream/flights", "eu-central-1"),
        ("arn:aws:sqs:us-east-2:123456789012:flights-dlq", "us-east-2"),
        ("flights", None),
        ("arn:aws", None),
    ],
)
def test_an_arn_says_where_it_is(name: str, region: str | None) -> None:
    """A stream of another region is asked for there, whatever region is in force."""
    assert arn_region(name) == region
