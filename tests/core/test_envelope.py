"""The letter in its envelope: whole where it fits, honest where it does not, and read back as it was."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core import envelope as post
from streamkit.core.changes import Change
from streamkit.core.envelope import PayloadOmitted, Unreadable, envelope, read
from streamkit.core.kept import Lost
from streamkit.core.letters import Cause, Condemned, Letter
from streamkit.core.records import Origin, Record
from streamkit.testing import change

ROOMY = 2**20
BARE = 3_072
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/flights"

# XML 1.0 and JSON can both hold these; what JSON cannot (lone surrogates) has a test of its own.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
records = st.builds(
    Record,
    data=st.binary(max_size=200),
    key=texts,
    sequence_number=st.integers(0, 10**129 - 1).map(str),
    origin=st.builds(Origin, texts, texts, st.none() | st.sampled_from(["gzip", "zlib", "zstd", "auto"])),
    arrived=st.floats(0, 4e9),
    subsequence=st.integers(0, 10_000),
    last=st.booleans(),
    defect=st.none() | texts,
    attempt=st.integers(1, 100),
    redriven=st.booleans(),
    replayed=st.booleans(),
    foreign=st.booleans(),
)
letters = st.builds(
    Letter,
    st.builds(
        Condemned,
        records,
        st.sampled_from(
            ["Poison", "Undecodable", "RetryAttemptsExhausted", "RecordAgeExceeded", "Parked", "ProcessDied"]
        ),
        texts,
        st.integers(0, 100),
        st.none() | st.builds(Cause, texts, texts, texts),
    ),
    texts,
    texts,
    texts,
    st.floats(0, 4e9),
)


def letter(
    data: bytes = b'{"arr_delay": null}', *, key: str = "N14228", cause: Cause | None = None, **changes: object
) -> Letter:
    """Return the letter of one flight."""
    record = Record(data, key, "49590338271490256608559692538361571095921575989136588898", FLIGHTS, 1_356_998_400.25)
    verdict = Condemned(replace(record, **changes), "Poison", "no arrival delay", 1, cause)
    return Letter(verdict, "flights", "1.4.2", ARN, 1_356_998_401.5)


FLIGHTS = Origin("flights", "shardId-000000000001")
CAUSE = Cause("flights.NoDelay", "no delay " * 50, "".join(f"frame {n}\n" for n in range(500)))


@given(one=letters)
def test_what_is_written_is_read_back(one: Letter) -> None:
    """Every field of every letter, payload byte for byte."""
    assert read(envelope(one, limit_bytes=ROOMY).body) == one


@given(one=letters, limit=st.integers(0, 6_000))
def test_no_body_exceeds_its_limit(one: Letter, limit: int) -> None:
    """It fits, or there is a clear refusal, which a limit of `BARE` bytes never meets for names of sane length."""
    try:
        written = envelope(one, limit_bytes=limit)
    except ValueError:
        return
    assert len(written.body.encode()) <= limit


@given(one=letters)
def test_a_queue_takes_every_body(one: Letter) -> None:
    """ASCII without control characters: SQS refuses what XML 1.0 cannot hold."""
    written = envelope(one, limit_bytes=ROOMY)
    assert all(" " <= character <= "~" for character in written.body)
    for name in (written.deduplication_id, written.group_id):
        assert 1 <= len(name) <= 128
        assert all("!" <= character <= "~" for character in name)


@pytest.mark.parametrize("defect", [None, "too large"])
def test_a_change_is_read_back_as_a_change(defect: str | None) -> None:
    """Its payload is its JSON, so a redrive hands out what the handler had; Lambda's readers see its stream."""
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/flights"
    it = replace(change({"id": "UA1"}, new={"id": "UA1", "delay": 11}, table="flights"), attempt=3, defect=defect)
    verdict = Condemned(it, "Poison", "no such route", 1)
    body = envelope(Letter(verdict, "routes", "1", arn, 1.0), limit_bytes=ROOMY).body
    found = read(body).record
    assert found == it
    assert isinstance(found, Change)
    assert found.new == {"id": "UA1", "delay": 11}
    assert json.loads(body)["DDBStreamBatchInfo"]["streamArn"] == arn
    small = json.loads(envelope(Letter(verdict, "routes", "1", arn, 1.0), limit_bytes=BARE).body)["streamkit"]
    assert small["payload"] or small["payloadOmitted"]["readAgain"].startswith("aws dynamodbstreams ")


def test_lone_surrogates_are_spelt_out() -> None:
    """An exception may quote undecodable bytes (PEP 383); its letter goes out all the same."""
    odd = letter(key="k\ud800", cause=Cause("E", "bad \udcff", "trace \udcff"))
    found = read(envelope(odd, limit_bytes=ROOMY).body)
    assert found.record.key == "k\\ud800"
    assert found.verdict.cause == Cause("E", "bad \\udcff", "trace \\udcff")


def test_the_body_is_a_superset_of_lambdas() -> None:
    """The shape of docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html, for one record."""
    body = json.loads(envelope(letter(), limit_bytes=ROOMY).body)
    assert {name: body[name] for name in body if name != "streamkit"} == {
        "requestContext": {
            "requestId": body["requestContext"]["requestId"],
            "functionArn": "flights",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 1,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "1.4.2", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2013-01-01T00:00:01.500Z",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000001",
            "startSequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "endSequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "approximateArrivalOfFirstRecord": "2013-01-01T00:00:00.250Z",
            "approximateArrivalOfLastRecord": "2013-01-01T00:00:00.250Z",
            "batchSize": 1,
            "streamArn": ARN,
        },
    }


def test_a_record_too_old_has_no_response() -> None:
    """As Lambda writes it."""
    one = letter()
    aged = replace(one, verdict=replace(one.verdict, condition="RecordAgeExceeded"))
    body = json.loads(envelope(aged, limit_bytes=ROOMY).body)
    assert body["requestContext"]["condition"] == "RecordAgeExceeded"
    assert "responseContext" not in body


def test_everything_of_the_letter_is_under_streamkit() -> None:
    """By the names of docs/dead-letters.md, which others read."""
    body = json.loads(envelope(letter(cause=Cause("E", "m", "t"), defect="d"), limit_bytes=ROOMY).body)
    assert body["streamkit"] == {
        "schema": 1,
        "id": "flights:shardId-000000000001:49590338271490256608559692538361571095921575989136588898:0",
        "consumer": "flights",
        "codeVersion": "1.4.2",
        "stream": "flights",
        "streamArn": ARN,
        "shard": "shardId-000000000001",
        "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
        "subsequence": 0,
        "last": True,
        "key": "N14228",
        "arrived": 1356998400.25,
        "condition": "Poison",
        "reason": "no arrival delay",
        "attempts": 1,
        "condemned": 1356998401.5,
        "exceptionType": "E",
        "exceptionMessage": "m",
        "traceback": "t",
        "defect": "d",
        "attempt": 1,
        "redriven": False,
        "replayed": False,
        "foreign": False,
        "compression": None,
        "encoding": "base64",
        "payload": "eyJhcnJfZGVsYXkiOiBudWxsfQ==",
        "payloadOmitted": None,
        "trimmed": [],
        "change": False,
    }


# --------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("room", [-1, 0, 1])
def test_the_payload_stays_up_to_the_very_limit(room: int) -> None:
    """One byte less, and it is left out with its size, the limit, and how to read it again."""
    whole = letter(b"x" * 5_000)
    one = replace(whole, verdict=replace(whole.verdict, reason=""))
    limit = len(envelope(one, limit_bytes=ROOMY).body) + room
    written = envelope(one, limit_bytes=limit)
    assert written.truncated == (room < 0)
    if not written.truncated:
        assert read(written.body) == one
        return
    facts = json.loads(written.body)["streamkit"]
    assert facts["payload"] is None
    assert facts["payloadOmitted"]["bytes"] == 5_000
    assert facts["payloadOmitted"]["limit"] == limit
    assert one.record.sequence_number in facts["payloadOmitted"]["readAgain"]


@pytest.mark.parametrize("room", [-1, 0, 1])
def test_the_traceback_gives_way_to_the_payload(room: int) -> None:
    """A redrive needs the payload; a person is content with the last frames."""
    one = letter(b"x" * 5_000, cause=CAUSE)
    limit = len(envelope(one, limit_bytes=ROOMY).body) + room
    written = envelope(one, limit_bytes=limit)
    found = read(written.body)
    assert not written.truncated
    assert found.record == one.record
    assert (found == one) == (room >= 0)
    cause = found.verdict.cause
    assert cause is not None
    assert CAUSE.traceback.endswith(cause.traceback)
    assert cause.message == CAUSE.message


@pytest.mark.parametrize("data", [b"", b"x" * 5_000], ids=["empty", "full"])
@pytest.mark.parametrize("bucket", [None, "bucket"])
def test_every_text_but_the_key_gives_way_to_the_payload(bucket: str | None, data: bytes) -> None:
    """A bucket is for payloads that are too large, not for long texts; and an empty payload is in none at all."""
    one = letter(data, cause=Cause("E", "m" * 3_000, "t" * 3_000), defect="d" * 3_000)
    one = replace(one, verdict=replace(one.verdict, reason="r" * 3_000))
    written = envelope(one, limit_bytes=len(data) * 4 // 3 + 4_000, bucket=bucket)
    found = read(written.body)
    assert (written.kept, written.truncated) == (None, False)
    assert (found.record.data, found.record.key) == (data, one.record.key)
    facts = json.loads(written.body)["streamkit"]
    assert facts["trimmed"] == ["traceback", "exception_message", "reason", "defect"]
    assert len(facts["defect"]) > 0


def test_texts_are_cut_in_order_when_the_payload_alone_is_not_enough() -> None:
    """Traceback, message, reason, defect, key: what matters least goes first, and no more of it than must."""
    cause = Cause("E", "m" * 3_000, "t" * 3_000)
    one = letter(b"x" * 50_000, key="k" * 3_000, cause=cause, defect="d" * 3_000)
    seen: list[list[str]] = []
    for limit in range(12_000, BARE, -100):
        body = envelope(one, limit_bytes=limit).body
        trimmed = json.loads(body)["streamkit"]["trimmed"]
        assert not trimmed or limit - 4 <= len(body) <= limit
        if trimmed not in seen:
            seen.append(trimmed)
    whole = ["traceback", "exception_message", "reason", "defect", "key"]
    assert all(one_more == whole[: len(one_more)] for one_more in seen)
    assert seen[-1] == whole


def test_a_cut_never_breaks_a_character() -> None:
    """Escapes are written whole: the body stays JSON at every limit."""
    one = letter(b"x" * 9_000, cause=Cause("E", "", '\N{SKULL}\N{PILE OF POO}"\\\n' * 200))
    for limit in range(2_500, 2_600):
        json.loads(envelope(one, limit_bytes=limit).body)


def test_a_limit_below_the_bare_facts_is_refused() -> None:
    """It is a wrong setting, not a large record."""
    with pytest.raises(ValueError, match="expected room for the facts of a dead letter, got a limit of 100 bytes"):
        envelope(letter(), limit_bytes=100)


def test_a_letter_without_payload_is_no_record_to_run() -> None:
    """Reading it says how to get the payload, and hands out the rest."""
    one = letter(b"x" * 50_000, subsequence=3, last=False)
    with pytest.raises(PayloadOmitted, match=r"get-shard-iterator .* user record 3") as omitted:
        read(envelope(one, limit_bytes=BARE).body)
    assert omitted.value.letter.record == replace(one.record, data=b"")


# --------------------------------------------------------------------------------------------- kept elsewhere


def spilled(one: Letter, **changes: object) -> PayloadOmitted:
    """Return what is read of a letter without room for its payload; `changes` are a forger's, of where it is kept."""
    body = json.loads(envelope(one, limit_bytes=BARE, bucket="bucket").body)
    body["streamkit"]["payloadOmitted"]["kept"] |= changes
    with pytest.raises(PayloadOmitted) as omitted:
        read(json.dumps(body))
    return omitted.value


@given(one=letters)
def test_a_letter_whose_payload_was_kept_is_whole_with_it(one: Letter) -> None:
    """Nothing else of it is missing."""
    record = replace(one.record, data=one.record.data + b"x" * 9_000)
    large = replace(one, verdict=replace(one.verdict, record=record), consumer="flights")
    put = envelope(large, limit_bytes=6_000, bucket="bucket")
    assert put.kept is not None
    assert (put.kept.size, put.truncated) == (len(large.record.data), False)
    with pytest.raises(PayloadOmitted) as omitted:
        read(put.body)
    assert omitted.value.kept == put.kept
    assert omitted.value.letter.record.id == large.record.id
    assert omitted.value.whole(large.record.data) == large


def test_a_change_whose_json_was_kept_goes_by_its_id_before_it_is_fetched() -> None:
    """Its own id is in the JSON: until then the letter tells it."""
    it = change({"id": "UA1"}, new={"id": "UA1", "text": "x" * 9_000}, table="flights")
    one = Letter(Condemned(it, "Poison", "no such route", 1), "routes", "1", ARN, 1.0)
    bare = spilled(one)
    assert bare.letter.record.id == it.id
    assert bare.whole(it.data) == one


def test_a_payload_is_kept_under_a_name_that_tells_nothing() -> None:
    """The same for a record, whenever; another in a replay, for each consumer, and for other bytes."""
    one = letter(b"x" * 9_000, key="secret")
    again = letter(b"x" * 9_000, key="secret", attempt=7)
    others = [
        letter(b"x" * 9_000, replayed=True),
        replace(one, consumer="other"),
        letter(b"x" * 9_000, subsequence=1),
        letter(b"y" * 9_000),
    ]
    keys = [envelope(each, limit_bytes=BARE, bucket="bucket").kept for each in (one, again, *others)]
    first, second, *rest = [each.key for each in keys if each]
    digest = hashlib.sha256(one.record.data).hexdigest()
    assert first == second == f"dead-letters/flights/{envelope(one, limit_bytes=ROOMY).deduplication_id}-{digest}"
    assert len({first, *rest}) == 5


def test_a_bucket_is_for_what_does_not_fit_and_no_more_than_a_record() -> None:
    """What fits is in the letter, nothing is nowhere; what is larger than any record of the service is read again."""
    assert envelope(letter(), limit_bytes=ROOMY, bucket="bucket").kept is None
    assert envelope(letter(b"", key="k" * 6_000), limit_bytes=BARE, bucket="bucket").kept is None
    huge = envelope(letter(b"x" * (10 * 2**20 + 1)), limit_bytes=BARE, bucket="bucket")
    assert (huge.kept, huge.truncated) == (None, True)


@pytest.mark.parametrize("payload", [b"", b"y" * 9_000, b"x" * 8_999, b"x" * 9_001])
def test_another_payload_does_not_make_a_letter_whole(payload: bytes) -> None:
    """By its digest, and by its size before."""
    with pytest.raises(Lost):
        spilled(letter(b"x" * 9_000)).whole(payload)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "archive/flights/0001.ndjson.gz"),
        ("key", "dead-letters/flights/../../archive"),
        ("bytes", 10 * 2**20 + 1),
        ("bytes", 0),
        ("bytes", -1),
        ("sha256", "canary"),
        ("sha256", "0" * 64),
        ("bucket", None),
        ("bucket", "canary\x1b[2Jcanary"),
        ("bucket", "c" * 64),
        ("bucket", "bucket\n"),
    ],
)
def test_a_letter_that_names_another_object_is_unreadable(name: str, value: object) -> None:
    """Anyone may send to a queue; nobody makes a redrive read what is not its record's."""
    body = json.loads(envelope(letter(b"x" * 9_000), limit_bytes=BARE, bucket="bucket").body)
    body["streamkit"]["payloadOmitted"]["kept"][name] = value
    with pytest.raises(Unreadable) as trouble:
        read(json.dumps(body))
    assert not isinstance(trouble.value, PayloadOmitted)
    assert "canary" not in str(trouble.value)


@pytest.mark.parametrize("consumer", ["canary\x1b[2J", "../canary", "c" * 101, "flights\n", ""])
def test_a_letter_whose_consumer_is_no_name_keeps_nothing(consumer: str) -> None:
    """It would be in the object's address, which is shown on terminals."""
    body = envelope(replace(letter(b"x" * 9_000), consumer=consumer), limit_bytes=BARE, bucket="bucket").body
    with pytest.raises(Unreadable) as trouble:
        read(body)
    assert not isinstance(trouble.value, PayloadOmitted)
    assert "canary" not in str(trouble.value)


def test_a_letter_whose_key_was_cut_is_not_whole_with_its_payload() -> None:
    """Its record would run in another lane, under another key."""
    body = envelope(letter(b"x" * 9_000, key="k" * 6_000), limit_bytes=BARE, bucket="bucket").body
    with pytest.raises(PayloadOmitted) as omitted:
        read(body)
    assert omitted.value.kept is None
    with pytest.raises(Lost):
        omitted.value.whole(b"x" * 9_000)


# --------------------------------------------------------------------------------------------- identities


def test_a_letter_sent_twice_has_one_identity() -> None:
    """Of the consumer and the record, not of the circumstances: a FIFO queue drops the second."""
    first = envelope(letter(cause=CAUSE), limit_bytes=ROOMY)
    second = envelope(replace(letter(), condemned=2e9, code_version="2"), limit_bytes=BARE)
    assert first.deduplication_id == second.deduplication_id


def test_other_records_and_other_consumers_have_other_identities() -> None:
    """User records of one aggregate included."""
    ours = [letter(), letter(subsequence=1), replace(letter(), consumer="other")]
    assert len({envelope(one, limit_bytes=ROOMY).deduplication_id for one in ours}) == 3


@pytest.mark.parametrize("key", ["", "two words", "k" * 129, "\u00e9", "\x00", "k\ud800"])
def test_a_key_that_sqs_refuses_is_grouped_by_its_digest(key: str) -> None:
    """Letters of one key stay one group, in order."""
    group = envelope(letter(key=key), limit_bytes=ROOMY).group_id
    assert group.startswith("sha256-")
    assert group == envelope(letter(b"other", key=key), limit_bytes=ROOMY).group_id


def test_a_key_that_sqs_takes_is_the_group() -> None:
    """So that people recognise it."""
    assert envelope(letter(key="k" * 128), limit_bytes=ROOMY).group_id == "k" * 128


# --------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "body",
    [
        "",
        "canary",
        "{}",
        "[" * 100_000,
        '{"streamkit": null}',
        '{"streamkit": {"schema": 1}}',
        '{"streamkit": {"schema": "canary"}}',
        "\ud800",
        "x" * (post.MAX_BODY + 1),
    ],
)
def test_other_bodies_are_unreadable(body: str) -> None:
    """A typed error that quotes nothing: anyone can send to a queue."""
    with pytest.raises(Unreadable) as trouble:
        read(body)
    assert "canary" not in str(trouble.value)
    assert len(str(trouble.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", 2),
        ("sequenceNumber", "12x"),
        ("sequenceNumber", "1" * 130),
        ("sequenceNumber", ""),
        ("condition", "Whim"),
        ("payload", "not base64!"),
        ("subsequence", -1),
        ("key", None),
    ],
)
def test_forged_facts_are_unreadable(name: str, value: object) -> None:
    """What is read is checked as if a stranger had written it."""
    body = json.loads(envelope(letter(), limit_bytes=ROOMY).body)
    body["streamkit"][name] = value
    with pytest.raises(Unreadable):
        read(json.dumps(body))


@given(seed=st.randoms())
def test_mutated_bodies_are_letters_or_unreadable(seed: random.Random) -> None:
    """Nothing else comes out of the reader."""
    body = list(envelope(letter(cause=Cause("E", "m", "t")), limit_bytes=ROOMY).body)
    for _ in range(seed.randint(1, 5)):
        body[seed.randrange(len(body))] = seed.choice('{}[]",:0x\\\ud800\u00e9')
    try:
        assert isinstance(read("".join(body)), Letter)
    except Unreadable as trouble:
        assert str(trouble)  # noqa: PT017 - either outcome will do
