"""How a dead letter looks in the queue: one JSON document, described for its readers in docs/dead-letters.md.

It is a superset of what Lambda sends when a stream's batch failed
(https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html), so that tools made for it
read this too; everything of ours is under `streamkit`. It is ASCII: SQS refuses what XML cannot hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec.structs import replace

from streamkit.core import codec
from streamkit.core.changes import Change, carried
from streamkit.core.kept import Kept, Lost, address, kept
from streamkit.core.letters import Cause, Condemned, Condition, Letter
from streamkit.core.positions import MAX_DIGITS
from streamkit.core.records import Compression, Origin, Record
from streamkit.errors import StreamkitError
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: Final = 1
"""Version of what is under `streamkit`; a reader refuses versions it does not know."""
MAX_BODY: Final = 16 * 2**20
"""Characters; no more is read. A letter with a record of 10 MiB, the most that Kinesis takes, is shorter."""

_TEXTS = ("traceback", "exception_message", "reason", "defect")
"""What gives way to the payload, in this order. The key does not: cut, it would put the record into another lane."""
_GROUP = re.compile(r"[!-~]{1,128}")  # what SQS takes as the id of a message group

Count = Annotated[int, msgspec.Meta(ge=0)]
Digits = Annotated[str, msgspec.Meta(pattern=rf"\A[0-9]{{1,{MAX_DIGITS}}}\Z")]


class Unreadable(StreamkitError):
    """A message's body is no dead letter of ours. The error quotes nothing of it."""


class PayloadOmitted(Unreadable):
    """The letter was too large for its queue. `letter` is what is left: no payload, texts perhaps cut."""

    def __init__(self, document: Document) -> None:
        omission = document.payload_omitted
        self.kept = None if "key" in document.trimmed else document.kept
        """Where the payload is, if it was kept; a record whose key was cut is not whole with it."""
        found = omission.read_again if omission else _read_again(document)
        found = found if self.kept is None else f"`streamkit dlq show`; it is {self.kept}"
        super().__init__(f"expected a letter with its payload, got one without; read it by {found}")
        self.letter = _letter(document)
        self._document = document

    def whole(self, payload: bytes) -> Letter:
        """Return the letter with its payload. Raises `Lost` for another than was kept."""
        if self.kept is None:
            raise Lost("expected a letter whose payload was kept, got one whose was not")
        letter = _letter(replace(self._document, payload=self.kept.expect(payload), payload_omitted=None))
        if letter.record.id != self.letter.record.id:
            raise Lost(f"{self.kept}: expected the payload of the letter's record, got that of another")
        return letter


class Bare(Record, frozen=True, kw_only=True):
    """A change without its JSON, in which its id is."""

    named: str

    @property
    def id(self) -> str:
        """What the letter says."""
        return self.named


class Envelope(msgspec.Struct, frozen=True):
    """A letter, ready to be sent."""

    body: str
    """ASCII: as many bytes as characters."""
    truncated: bool
    """Whether the payload had to be left out, and is nowhere else."""
    deduplication_id: str
    """For FIFO queues: the same whenever the letter of a record is sent by the same consumer."""
    group_id: str
    """For FIFO queues: the same for all records of a key."""
    kept: Kept | None = None
    """Where the payload has to be before this is sent."""


class Omission(msgspec.Struct, frozen=True, rename="camel"):
    """Why there is no payload."""

    bytes: Count
    limit: Count
    read_again: str
    kept: Kept | None = None
    """Where it is instead, if it was kept."""


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is under `streamkit`: a letter, flat."""

    schema: Count
    id: str
    consumer: str
    code_version: str
    stream: str
    stream_arn: str
    shard: str
    sequence_number: Digits
    subsequence: Count
    last: bool
    key: str
    arrived: float
    condition: Condition
    reason: str
    attempts: Count
    condemned: float
    exception_type: str | None
    exception_message: str | None
    traceback: str | None
    defect: str | None
    attempt: Count
    redriven: bool
    replayed: bool
    foreign: bool
    compression: Compression | None
    encoding: str = "base64"
    payload: bytes | None
    payload_omitted: Omission | None = None
    trimmed: tuple[str, ...] = ()
    """Names of texts that were cut."""
    change: bool = False
    """Whether the payload is a change of a DynamoDB item."""

    @property
    def kept(self) -> Kept | None:
        """Where the payload is instead, if it was kept."""
        return None if self.payload_omitted is None else self.payload_omitted.kept


class _Body(msgspec.Struct, frozen=True):
    """What of a body is ours."""

    streamkit: Document


# --------------------------------------------------------------------------------------------- writing


def envelope(letter: Letter, *, limit_bytes: int, bucket: str | None = None) -> Envelope:
    """Return the letter with a body of at most `limit_bytes`.

    Texts give way to the payload, which is what a redrive needs: traceback, message, reason and defect are cut as need
    be, in this order. If that does not make room enough, they stay, the payload is left out, and the letter says where
    in the bucket it is to be, if there is one, and how to read it again; then texts are cut as need be, last of them
    the key. Raises `ValueError` if that does not fit either (3 KB do).
    """
    for document in _ever_smaller(_document(letter), limit_bytes, bucket):
        body = _body(document)
        if len(body) <= limit_bytes:
            at = document.kept
            truncated = document.payload is None and at is None
            return Envelope(body, truncated, _name(document), group_id(letter.record.key), at)
    raise ValueError(f"expected room for the facts of a dead letter, got a limit of {limit_bytes} bytes")


def _name(document: Document) -> str:
    """Return the same for every letter of a record by a consumer; what failed in a replay is another."""
    replayed = "\nreplayed" if document.replayed else ""
    return sha256(f"{document.consumer}\n{document.id}{replayed}")


def _document(letter: Letter) -> Document:
    verdict, record = letter.verdict, letter.record
    cause = verdict.cause
    return Document(
        schema=SCHEMA,
        id=record.id,
        consumer=letter.consumer,
        code_version=letter.code_version,
        stream=record.stream,
        stream_arn=letter.stream_arn,
        shard=record.shard,
        sequence_number=record.sequence_number,
        subsequence=record.subsequence,
        last=record.last,
        key=spelt_out(record.key),
        arrived=record.arrived,
        condition=verdict.condition,
        reason=spelt_out(verdict.reason),
        attempts=verdict.attempts,
        condemned=letter.condemned,
        exception_type=None if cause is None else cause.type,
        exception_message=None if cause is None else spelt_out(cause.message),
        traceback=None if cause is None else spelt_out(cause.traceback),
        defect=record.defect,
        attempt=record.attempt,
        redriven=record.redriven,
        replayed=record.replayed,
        foreign=record.foreign,
        compression=record.origin.compression,
        payload=record.data,
        change=isinstance(record, Change),
    )


def spelt_out(text: str) -> str:
    """Return the text with lone surrogates spelt out: JSON cannot carry them, exceptions may quote them."""
    return text.encode(errors="backslashreplace").decode()


def _body(document: Document) -> str:
    """Return the JSON text, ASCII only."""
    ours = {"streamkit": msgspec.to_builtins(document)}
    return json.dumps(_as_lambda(document) | ours, separators=(",", ":"))


def _as_lambda(document: Document) -> dict[str, object]:
    """Return Lambda's document. Its conditions are two: what is no matter of age is one of attempts."""
    aged = document.condition == "RecordAgeExceeded"
    context: dict[str, object] = {
        "requestContext": {
            "requestId": sha256(document.id),
            "functionArn": document.consumer,
            "condition": "RecordAgeExceeded" if aged else "RetryAttemptsExhausted",
            "approximateInvokeCount": document.attempts,
        }
    }
    if not aged:
        executed = {"statusCode": 200, "executedVersion": document.code_version, "functionError": "Unhandled"}
        context["responseContext"] = executed
    return context | {
        "version": "1.0",
        "timestamp": _iso(document.condemned),
        "DDBStreamBatchInfo" if _of_table(document) else "KinesisBatchInfo": {
            "shardId": document.shard,
            "startSequenceNumber": document.sequence_number,
            "endSequenceNumber": document.sequence_number,
            "approximateArrivalOfFirstRecord": _iso(document.arrived),
            "approximateArrivalOfLastRecord": _iso(document.arrived),
            "batchSize": 1,
            "streamArn": document.stream_arn,
        },
    }


def _of_table(document: Document) -> bool:
    """Say whether the record came out of a table's own stream; a change may come through Kinesis too."""
    return ":dynamodb:" in document.stream_arn


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sha256(text: str) -> str:
    """Return the digest of a text, in 64 hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def group_id(key: str) -> str:
    """Return the key where SQS takes it as it is, and otherwise its digest."""
    return key if _GROUP.fullmatch(key) else f"sha256-{sha256(key)}"


# --------------------------------------------------------------------------------------------- making it fit


def _ever_smaller(document: Document, limit: int, bucket: str | None) -> Iterator[Document]:
    """Yield the document with less and less in it, what matters least going first."""
    yield document
    payload = document.payload or b""
    if len(payload) < limit:  # what is larger has no room anyway, and takes long to write
        yield _cut(document, _TEXTS, limit)
    at = kept(payload, bucket=bucket, consumer=document.consumer, name=_name(document)) if bucket else None
    omission = Omission(bytes=len(payload), limit=limit, read_again=_read_again(document), kept=at)
    bare = replace(document, payload=None, payload_omitted=omission)
    yield bare
    yield _cut(bare, (*_TEXTS, "key"), limit)


def _read_again(document: Document) -> str:
    """Return how a person gets the payload from the stream, while the stream still has it."""
    if _of_table(document):
        return (
            f"aws dynamodbstreams get-shard-iterator --stream-arn {document.stream_arn}/stream/LABEL"
            f" --shard-id {document.shard} --shard-iterator-type AT_SEQUENCE_NUMBER"
            f" --sequence-number {document.sequence_number}, then aws dynamodbstreams get-records --limit 1;"
            f" the label is one of aws dynamodbstreams list-streams --table-name {document.stream}"
        )
    user_record = "" if document.last and not document.subsequence else f", user record {document.subsequence}"
    return (
        f"aws kinesis get-shard-iterator --stream-arn {document.stream_arn} --shard-id {document.shard}"
        f" --shard-iterator-type AT_SEQUENCE_NUMBER --starting-sequence-number {document.sequence_number}"
        f", then aws kinesis get-records --limit 1{user_record}"
    )


def _cut(document: Document, names: tuple[str, ...], limit: int) -> Document:
    """Shorten texts in this order, each by as much as is still too much."""
    for name in names:
        text: str | None = getattr(document, name)
        if not text or len(_body(document)) <= limit:
            continue
        document = replace(document, trimmed=(*document.trimmed, name))
        room = _written(text) - (len(_body(document)) - limit)
        kept = _tail(text, room) if name == "traceback" else _head(text, room)
        document = replace(document, **{name: kept})
    return document


def _head(text: str, room: int) -> str:
    """Return as much of the beginning as is written in `room` bytes."""
    return text[: bisect_right(range(1, len(text) + 1), room, key=lambda length: _written(text[:length]))]


def _tail(text: str, room: int) -> str:
    """Return as much of the end: the last frames are those that say where it happened."""
    return _head(text[::-1], room)[::-1]


def _written(text: str) -> int:
    return len(json.dumps(text)) - len('""')


# --------------------------------------------------------------------------------------------- reading


def read(body: str) -> Letter:
    """Return the letter. Raises `Unreadable`, and its kind `PayloadOmitted` for a letter without payload."""
    if len(body) > MAX_BODY:
        raise Unreadable(f"expected at most {MAX_BODY} characters, got {len(body)}")
    try:
        found: _Body = codec.json(body.encode(errors="surrogatepass"), _Body)
    except Undecodable as fault:
        raise Unreadable(f"expected a dead letter of streamkit: {fault.reason}") from None
    document = found.streamkit
    if document.schema != SCHEMA:
        raise Unreadable(f"expected a dead letter of schema {SCHEMA}, got schema {document.schema}")
    if document.payload is None:
        _expect_its_own(document)
        raise PayloadOmitted(document)
    return _letter(document)


def _expect_its_own(document: Document) -> None:
    """Raise `Unreadable` for a letter that names another object than that of its record: nobody's else is fetched."""
    at = document.kept
    if at is not None and at.key != address(document.consumer, name=_name(document), sha256=at.sha256):
        raise Unreadable(
            "expected a letter whose payload is kept by its record's name and its digest, got another name"
        )


def _letter(document: Document) -> Letter:
    cause = None
    if document.exception_type is not None:
        cause = Cause(document.exception_type, document.exception_message or "", document.traceback or "")
    verdict = Condemned(_record(document), document.condition, document.reason, document.attempts, cause)
    return Letter(verdict, document.consumer, document.code_version, document.stream_arn, document.condemned)


def _record(document: Document) -> Record:
    record = Record(
        data=document.payload or b"",
        key=document.key,
        sequence_number=document.sequence_number,
        origin=Origin(document.stream, document.shard, document.compression),
        arrived=document.arrived,
        subsequence=document.subsequence,
        last=document.last,
        defect=document.defect,
        attempt=document.attempt,
        redriven=document.redriven,
        replayed=document.replayed,
        foreign=document.foreign,
    )
    if not document.change:
        return record
    if document.payload is None:
        return Bare(**msgspec.structs.asdict(record), named=document.id)
    return replace(carried(replace(record, defect=None)), defect=document.defect)
