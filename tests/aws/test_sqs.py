"""Dead letters on SQS: what the queue takes in part, late, or not at all."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.errors import Rejected
from streamkit.aws.outbox import BATCH_BYTES
from streamkit.aws.sqs import SqsDeadLetters
from streamkit.core.envelope import PayloadOmitted, read
from streamkit.core.kept import Kept
from streamkit.core.letters import Letter
from streamkit.errors import ConfigurationError, Denied, Missing, Throttled, Unanswered, Undelivered, WorldError
from streamkit.events import LetterSpilled, LetterTruncated
from streamkit.testing import MemoryPayloads, Recorder, SeededChance, letter, record, run_virtual
from tests.aws.virtual import virtual


class ScriptedQueue:
    """A queue in memory. Before it takes a batch it fails as told: an error, or codes for some of its entries."""

    def __init__(self, *troubles: WorldError | dict[str, str], limit_bytes: int = 262_144) -> None:
        self.troubles = list(troubles)
        self.limit_bytes = limit_bytes
        self.batches: list[list[dict[str, Any]]] = []
        self.looked_up: list[dict[str, Any]] = []
        self.taken: list[Letter] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Answer one request."""
        if operation == "GetQueueUrl":
            self.looked_up.append(parameters)
            return {"QueueUrl": f"https://sqs/1/{parameters['QueueName']}"}
        if operation == "GetQueueAttributes":
            return {"Attributes": {"MaximumMessageSize": str(self.limit_bytes)}}
        entries: list[dict[str, Any]] = parameters["Entries"]
        self.batches.append(entries)
        trouble = self.troubles.pop(0) if self.troubles else {}
        if isinstance(trouble, WorldError):
            raise trouble
        return self.take(entries, trouble)

    def take(self, entries: Sequence[dict[str, Any]], codes: dict[str, str]) -> dict[str, Any]:
        """Take what has no code."""
        failed = [
            {"Id": each["Id"], "Code": codes[each["Id"]], "SenderFault": codes[each["Id"]] == "Odd"}
            for each in entries
            if each["Id"] in codes
        ]
        taken = [each for each in entries if each["Id"] not in codes]
        self.taken += [read(each["MessageBody"]) for each in taken]
        return {"Successful": [{"Id": each["Id"]} for each in taken], "Failed": failed}

    @property
    def sizes(self) -> list[int]:
        """Entries of each batch."""
        return [len(batch) for batch in self.batches]

    @property
    def payloads(self) -> list[bytes]:
        """What was taken, in order."""
        return [each.record.data for each in self.taken]


class ForgettingQueue(ScriptedQueue):
    """Answers a batch as if it had been empty."""

    def take(self, entries: Sequence[dict[str, Any]], codes: dict[str, str]) -> dict[str, Any]:
        """Say nothing of any entry."""
        return {}


def letters(count: int, *, keys: Iterable[str] = ("k",), data: bytes = b"") -> list[Letter]:
    """So many letters, numbered."""
    names = list(keys)
    return [
        letter(record(data or str(index).encode(), sequence=index + 1, key=names[index % len(names)]))
        for index in range(count)
    ]


def over(queue: Call, name: str = "flights-dlq", report: Recorder | None = None) -> SqsDeadLetters:
    """The port over a queue."""
    return SqsDeadLetters(queue, queue=name, chance=SeededChance(0), report=report or Recorder())


@virtual
async def test_letters_go_in_batches_of_ten() -> None:
    """And the queue is looked up once."""
    queue = ScriptedQueue()
    port = over(queue)
    await port.send(letters(23))
    await port.send(letters(1))
    assert queue.sizes == [10, 10, 3, 1]
    assert queue.looked_up == [{"QueueName": "flights-dlq"}]


@virtual
async def test_a_batch_stays_under_its_size_limit() -> None:
    """Ten large letters are several requests: SQS bounds the batch as a whole."""
    queue = ScriptedQueue()
    await over(queue).send(letters(10, data=bytes(60_000)))
    weights = [sum(len(each["MessageBody"]) for each in batch) for batch in queue.batches]
    assert max(weights) <= BATCH_BYTES
    assert min(weights[:-1]) > BATCH_BYTES / 2
    assert len(queue.taken) == 10


@virtual
async def test_entries_that_fail_in_passing_are_sent_again() -> None:
    """Those only; the others are durable."""
    queue = ScriptedQueue({"0": "InternalError", "2": "Throttled"}, {"2": "InternalError"})
    await over(queue).send(letters(3))
    assert queue.sizes == [3, 2, 1]
    assert sorted(queue.payloads) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("trouble", [Throttled("slow down"), Unanswered("silence")])
def test_a_batch_without_an_answer_is_sent_again(trouble: WorldError) -> None:
    """A letter may then be there twice; its deduplication id is the same."""

    async def main() -> None:
        queue = ScriptedQueue(trouble)
        await over(queue).send(letters(3))
        assert queue.batches[0] == queue.batches[1]

    run_virtual(main)


@virtual
async def test_a_queue_that_stays_down_is_given_up_after_a_few_tries() -> None:
    """The caller decides what a queue that is down means (rule 19); it learns exactly what is not durable."""
    sent = letters(12)
    queue = ScriptedQueue({}, *[Unanswered("silence")] * 99)
    with pytest.raises(Undelivered, match="2 dead letters were not taken by the queue: silence") as trouble:
        await over(queue).send(sent)
    assert trouble.value.letters == sent[10:]
    assert queue.sizes == [10, 2, 2, 2, 2, 2]


@virtual
async def test_a_queue_that_takes_some_of_each_batch_is_not_given_up() -> None:
    """As long as there is progress it goes on."""
    some = {str(index): "InternalError" for index in range(10)}
    troubles = [{name: code for name, code in some.items() if int(name) > taken} for taken in range(10)]
    queue = ScriptedQueue(*troubles)
    await over(queue).send(letters(10))
    assert queue.sizes == list(range(10, 0, -1))


@virtual
async def test_what_an_answer_does_not_mention_is_not_durable() -> None:
    """Nothing is taken for granted, and nobody asks for ever."""
    queue = ForgettingQueue()
    with pytest.raises(Undelivered, match="some were not mentioned"):
        await over(queue).send(letters(2))
    assert queue.sizes == [2] * 5


@virtual
async def test_the_senders_fault_is_not_sent_again() -> None:
    """It would fail again; the others get through."""
    queue = ScriptedQueue({"1": "Odd"})
    sent = letters(12)
    with pytest.raises(Undelivered) as trouble:
        await over(queue).send(sent)
    assert trouble.value.letters == [sent[1]]
    assert len(queue.taken) == 11
    assert queue.sizes == [10, 2]


@pytest.mark.parametrize("error", [Denied, Missing, Rejected])
def test_what_waiting_does_not_mend_is_told_at_once(error: type[WorldError]) -> None:
    """With what is durable already left out."""

    async def main() -> None:
        queue = ScriptedQueue({}, error("no"))
        sent = letters(11)
        with pytest.raises(Undelivered) as trouble:
            await over(queue).send(sent)
        assert trouble.value.letters == sent[10:]
        assert isinstance(trouble.value.__cause__, error)
        assert queue.sizes == [10, 1]

    run_virtual(main)


# -- FIFO queues


@virtual
async def test_a_fifo_queue_gets_groups_and_deduplication_ids() -> None:
    """One group a key, one id a record; a standard queue gets neither."""
    fifo, standard = ScriptedQueue(), ScriptedQueue()
    sent = letters(2, keys=["a", "b"])
    await over(fifo, "flights-dlq.fifo").send(sent)
    await over(standard).send(sent)
    [first, second] = fifo.batches[0]
    assert first["MessageGroupId"] != second["MessageGroupId"]
    assert first["MessageDeduplicationId"] != second["MessageDeduplicationId"]
    assert standard.batches[0][0].keys() == {"Id", "MessageBody"}


@virtual
async def test_letters_of_one_group_go_one_after_the_other() -> None:
    """A batch that is taken in part would put a key's letters out of order, and redrive its records."""
    queue = ScriptedQueue({"0": "InternalError"}, {"1": "InternalError"})
    await over(queue, "q.fifo").send(letters(6, keys=["a", "b", "c"]))
    by_key = {key: [each.record.data for each in queue.taken if each.record.key == key] for key in "abc"}
    assert by_key == {"a": [b"0", b"3"], "b": [b"1", b"4"], "c": [b"2", b"5"]}


@virtual
async def test_a_group_stops_at_a_letter_that_will_never_be_taken() -> None:
    """Its later letters must not overtake; other groups go on."""
    queue = ScriptedQueue({"0": "Odd"})
    sent = letters(6, keys=["a", "b"])
    with pytest.raises(Undelivered) as trouble:
        await over(queue, "q.fifo").send(sent)
    assert trouble.value.letters == sent[0::2]
    assert queue.payloads == [b"1", b"3", b"5"]


# -- payloads over the limit


class CountingBucket(MemoryPayloads):
    """Knows how often it was given a payload."""

    puts = 0

    async def keep(self, kept: Kept, payload: bytes) -> None:
        """Count it."""
        self.puts += 1
        await super().keep(kept, payload)


class NarrowQueue(ScriptedQueue):
    """Takes messages of 16 KiB, and looks into the bucket when it is given a letter without its payload."""

    def __init__(self, bucket: MemoryPayloads, *troubles: WorldError | dict[str, str]) -> None:
        super().__init__(*troubles, limit_bytes=16_384)
        self.bucket = bucket

    def take(self, entries: Sequence[dict[str, Any]], codes: dict[str, str]) -> dict[str, Any]:
        """Take what has no code; a payload that is not where its letter says fails the test."""
        assert all(len(each["MessageBody"]) <= self.limit_bytes for each in entries)
        self.taken += [self.whole(each["MessageBody"]) for each in entries if each["Id"] not in codes]
        return {"Successful": [each for each in entries if each["Id"] not in codes]}

    def whole(self, body: str) -> Letter:
        """Read a letter as whoever takes it next."""
        try:
            return read(body)
        except PayloadOmitted as bare:
            return bare.whole(self.bucket.objects[bare.kept.key if bare.kept else "nowhere"])


def with_bucket(queue: NarrowQueue, name: str = "flights-dlq", report: Recorder | None = None) -> SqsDeadLetters:
    """The port over a queue and its bucket."""
    return SqsDeadLetters(queue, queue=name, chance=SeededChance(0), report=report or Recorder(), payloads=queue.bucket)


def large_and_small() -> list[Letter]:
    """Four letters of two keys in turn; the second and the third are too much for the queue."""
    sizes = [10, 40_000, 50_000, 20]
    return [letter(record(bytes(size), sequence=n + 1, key="ab"[n % 2])) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("name", ["flights-dlq", "flights-dlq.fifo"])
def test_a_large_payload_is_in_the_bucket_before_its_letter_is_in_the_queue(name: str) -> None:
    """To the byte, and only what does not fit; whoever watches is told (rule 29)."""

    async def main() -> None:
        queue, recorder, sent = NarrowQueue(MemoryPayloads()), Recorder(), large_and_small()
        await with_bucket(queue, name, recorder).send(sent)
        assert sorted(queue.taken, key=lambda each: each.record.sequence) == sent
        assert sorted(map(len, queue.bucket.objects.values())) == [40_000, 50_000]
        assert list(recorder.events) == [
            LetterSpilled(shard=sent[n].record.shard, sequence=sent[n].record.sequence_number, bytes=size)
            for n, size in ((1, 40_000), (2, 50_000))
        ]

    run_virtual(main)


@pytest.mark.parametrize(("name", "held"), [("flights-dlq", [1, 2]), ("flights-dlq.fifo", [1, 2, 3])])
def test_a_bucket_that_is_down_holds_its_letters_back_and_no_other(name: str, held: list[int]) -> None:
    """But in a FIFO queue later ones of their keys, too. When it is back, the same letters go."""

    async def main() -> None:
        queue, sent = NarrowQueue(MemoryPayloads()), large_and_small()
        queue.bucket.outage = Unanswered("the bucket is down")
        port = with_bucket(queue, name)
        with pytest.raises(Undelivered, match="the bucket is down") as trouble:
            await port.send(sent)
        assert trouble.value.letters == [sent[n] for n in held]
        assert isinstance(trouble.value.__cause__, Unanswered)
        queue.bucket.outage = None
        await port.send(trouble.value.letters)
        assert sorted(queue.taken, key=lambda each: each.record.sequence) == sent

    run_virtual(main)


@virtual
async def test_a_letter_that_the_queue_refuses_after_its_payload_was_kept_is_sent_again_with_the_same() -> None:
    """One object, put once, and told of once its letter is durable, however often that is tried."""
    bucket, recorder = CountingBucket(), Recorder()
    queue, sent = NarrowQueue(bucket, *[Unanswered("silence")] * 10), large_and_small()
    port = with_bucket(queue, report=recorder)
    for _ in range(2):
        with pytest.raises(Undelivered) as trouble:
            await port.send(sent)
        assert (trouble.value.letters, list(recorder.events)) == (sent, [])
    await port.send(sent)
    assert queue.taken == sent
    assert (len(bucket.objects), bucket.puts) == (2, 2)
    assert [type(each) for each in recorder.events] == [LetterSpilled] * 2
    await port.send(sent[1:2])
    assert bucket.puts == 3, "what the queue has taken is not remembered"


def test_how_many_payloads_are_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is put once more."""
    monkeypatch.setattr("streamkit.aws.sqs.REMEMBERED", 2)

    async def main() -> None:
        bucket = CountingBucket()
        queue, sent = NarrowQueue(bucket, *[Unanswered("silence")] * 5), letters(3, data=b"x" * 40_000)
        port = with_bucket(queue)
        with pytest.raises(Undelivered):
            await port.send(sent)
        await port.send(sent)
        assert (bucket.puts, queue.taken) == (6, sent)

    run_virtual(main)


@virtual
async def test_when_queue_and_bucket_fail_both_are_told() -> None:
    """Whoever mends one of them does not learn of the other only afterwards."""
    queue = NarrowQueue(MemoryPayloads(), *[Unanswered("the queue is down")] * 5)
    queue.bucket.outage = Unanswered("the bucket is down")
    with pytest.raises(Undelivered, match="the queue is down; the bucket is down"):
        await with_bucket(queue).send(large_and_small())


@pytest.mark.parametrize("name", ["flights-dlq", "flights-dlq.fifo"])
def test_a_second_letter_with_other_bytes_leaves_the_payload_of_the_first_alone(name: str) -> None:
    """A worker and a function write a change's JSON in their own ways; a FIFO queue swallows the second letter."""

    async def main() -> None:
        queue = NarrowQueue(MemoryPayloads())
        first, second = letters(1, data=b"x" * 40_000) + letters(1, data=b"y" * 40_000)
        await with_bucket(queue, name).send([first])
        await with_bucket(queue, name).send([second])
        bodies = [entry["MessageBody"] for batch in queue.batches for entry in batch]
        assert [queue.whole(body) for body in bodies] == [first, second]

    run_virtual(main)


# -- limits and addresses


@pytest.mark.parametrize(("size", "truncated"), [(2_000, False), (40_000, True)])
def test_a_payload_over_the_queues_limit_is_reported(size: int, *, truncated: bool) -> None:
    """Its letter holds the position to read it again (rule 29), and whoever watches is told."""

    async def main() -> None:
        recorder = Recorder()
        queue = ScriptedQueue(limit_bytes=16_384)

        async def keep(operation: str, /, **parameters: Any) -> dict[str, Any]:
            if operation != "SendMessageBatch":
                return await queue(operation, **parameters)
            assert all(len(each["MessageBody"]) <= 16_384 for each in parameters["Entries"])
            return {"Successful": parameters["Entries"]}

        [big] = letters(1, data=bytes(size))
        await over(keep, report=recorder).send([big])
        expected = LetterTruncated(
            shard=big.record.shard, sequence=big.record.sequence_number, bytes=size, limit_bytes=16_384
        )
        assert list(recorder.events) == ([expected] if truncated else [])

    run_virtual(main)


@pytest.mark.parametrize(("limit_bytes", "enough"), [(16_383, False), (1_024, False), (16_384, True)])
def test_a_queue_without_room_for_the_facts_of_a_letter_is_refused_at_the_start(
    limit_bytes: int, *, enough: bool
) -> None:
    """Not once the first bad record has come, and its letter fits nowhere: SQS allows limits from 1 KiB."""

    async def main() -> None:
        port = over(ScriptedQueue(limit_bytes=limit_bytes))
        if enough:
            assert (await port.open()).limit_bytes == limit_bytes
            return
        with pytest.raises(ConfigurationError, match=f"MaximumMessageSize of at least 16384, got {limit_bytes}"):
            await port.open()

    run_virtual(main)


@virtual
async def test_a_queue_of_another_account_is_found_by_its_arn() -> None:
    """Its owner goes with the question."""
    queue = ScriptedQueue()
    await over(queue, "arn:aws:sqs:us-east-1:123456789012:flights-dlq").open()
    assert queue.looked_up == [{"QueueName": "flights-dlq", "QueueOwnerAWSAccountId": "123456789012"}]


@virtual
async def test_a_queue_given_by_url_is_not_looked_up() -> None:
    """A URL is what it would be looked up for."""
    queue = ScriptedQueue()
    opened = await over(queue, "https://sqs.us-east-1.amazonaws.com/123456789012/q.fifo").open()
    assert (opened.fifo, queue.looked_up) == (True, [])


@pytest.mark.parametrize("arn", ["arn:aws:sns:us-east-1:123456789012:flights", "arn:aws:sqs:flights"])
def test_an_arn_of_something_else_is_a_configuration_error(arn: str) -> None:
    """It says what an ARN of a queue looks like."""

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"expected a queue like 'arn:aws:sqs:.*got 'arn:aws"):
            await over(ScriptedQueue(), arn).open()

    run_virtual(main)


@pytest.mark.parametrize("address", ["{name}", "arn:aws:sqs:us-east-1:123456789012:{name}"])
async def test_a_missing_queue_says_what_to_do(aws: Aws, name: str, address: str) -> None:
    """At the start, before anything has to be sent."""
    port = SqsDeadLetters(
        await aws.call("sqs"), queue=address.format(name=name), chance=SeededChance(0), report=Recorder()
    )
    with pytest.raises(Missing, match="create the queue, or correct its name"):
        await port.open()
