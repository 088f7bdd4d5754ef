"""What is told of a record that was handled: the value, and how it looks in the queue (docs/successes.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from streamkit.core import codec
from streamkit.core.changes import Change, carried
from streamkit.core.envelope import MAX_BODY, Count, Digits, Envelope, Unreadable, group_id, sha256, spelt_out
from streamkit.core.records import Compression, Origin, Record
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: Final = 1
"""Version of the document; a reader refuses versions it does not know."""
_KEY_CHARACTERS = 256
"""Of a key, where the queue's limit leaves room for no more."""


class Success(msgspec.Struct, frozen=True):
    """One record that was handled, on its way to the queue."""

    record: Record
    consumer: str
    code_version: str
    stream_arn: str
    handled: float
    """When: seconds since the epoch."""


class Omitted(msgspec.Struct, frozen=True):
    """Why there is no payload: it would not fit into a message of the queue."""

    bytes: Count
    limit: Count


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is under `streamkit`: a success, flat."""

    schema: Count
    condition: Literal["Success"] = "Success"
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
    handled: float
    attempt: Count
    redriven: bool
    replayed: bool
    compression: Compression | None
    encoding: str = "base64"
    payload: bytes | None
    payload_omitted: Omitted | None = None
    change: bool


class _Body(msgspec.Struct, frozen=True):
    streamkit: Document


def envelope(success: Success, *, limit_bytes: int) -> Envelope:
    """Return the success with a body of at most `limit_bytes`: without its payload, where that does not fit.

    Raises `ValueError` if the facts do not fit either (4 KB do).
    """
    for document in _ever_smaller(_document(success), limit_bytes):
        body = json.dumps({"streamkit": msgspec.to_builtins(document)}, separators=(",", ":"))
        if len(body) <= limit_bytes:
            again = "\nreplayed" if success.record.replayed else ""
            deduplication_id = sha256(f"success\n{success.consumer}\n{success.record.id}{again}")
            return Envelope(body, document.payload is None, deduplication_id, group_id(success.record.key))
    raise ValueError(f"expected room for the facts of a success, got a limit of {limit_bytes} bytes")


def _ever_smaller(document: Document, limit: int) -> Iterator[Document]:
    yield document
    bare = replace(document, payload=None, payload_omitted=Omitted(len(document.payload or b""), limit))
    yield bare
    yield replace(bare, key=document.key[:_KEY_CHARACTERS])


def _document(success: Success) -> Document:
    record = success.record
    return Document(
        schema=SCHEMA,
        id=record.id,
        consumer=success.consumer,
        code_version=success.code_version,
        stream=record.stream,
        stream_arn=success.stream_arn,
        shard=record.shard,
        sequence_number=record.sequence_number,
        subsequence=record.subsequence,
        last=record.last,
        key=spelt_out(record.key),
        arrived=record.arrived,
        handled=success.handled,
        attempt=record.attempt,
        redriven=record.redriven,
        replayed=record.replayed,
        compression=record.origin.compression,
        payload=record.data,
        change=isinstance(record, Change),
    )


def read(body: str) -> Success:
    """Return the success that a message tells of; its record has no data where they did not fit.

    Raises `Unreadable`, which quotes nothing of it.
    """
    if len(body) > MAX_BODY:
        raise Unreadable(f"expected at most {MAX_BODY} characters, got {len(body)}")
    try:
        document = codec.json(body.encode(errors="surrogatepass"), _Body).streamkit
    except Undecodable as fault:
        raise Unreadable(f"expected a success told by streamkit: {fault.reason}") from None
    if document.schema != SCHEMA:
        raise Unreadable(f"expected a success of schema {SCHEMA}, got schema {document.schema}")
    return Success(_record(document), document.consumer, document.code_version, document.stream_arn, document.handled)


def _record(document: Document) -> Record:
    record = Record(
        data=document.payload or b"",
        key=document.key,
        sequence_number=document.sequence_number,
        origin=Origin(document.stream, document.shard, document.compression),
        arrived=document.arrived,
        subsequence=document.subsequence,
        last=document.last,
        attempt=document.attempt,
        redriven=document.redriven,
        replayed=document.replayed,
    )
    return carried(record) if document.change and document.payload is not None else record
