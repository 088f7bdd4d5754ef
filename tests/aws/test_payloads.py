"""Payloads on S3: what the bucket does late, or not at all. What it does well is in the contract."""

from typing import Any

import pytest

from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.errors import Rejected, Unaccredited
from streamkit.aws.payloads import S3Payloads
from streamkit.core.kept import Kept, Lost, kept
from streamkit.errors import Denied, Missing, Throttled, Unanswered, WorldError
from streamkit.testing import SeededChance, run_virtual
from tests.aws.virtual import virtual

PAYLOAD = b"payload"


class ScriptedBucket:
    """A bucket in memory, which fails as told before it answers."""

    def __init__(self, *troubles: WorldError) -> None:
        self.troubles = list(troubles)
        self.opened = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def open(self) -> Call:
        """Return the way to call it."""
        self.opened += 1
        return self

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Answer one request."""
        self.asked.append((operation, parameters))
        if self.troubles:
            raise self.troubles.pop(0)
        return {"Body": PAYLOAD}


def over(bucket: ScriptedBucket) -> S3Payloads:
    """The port over a bucket."""
    return S3Payloads(bucket.open, bucket="bucket", chance=SeededChance(0))


def place() -> Kept:
    """Where the payload is."""
    found = kept(PAYLOAD, bucket="bucket", consumer="flights", name="f" * 64)
    assert found is not None
    return found


@virtual
async def test_a_bucket_is_opened_with_the_first_payload() -> None:
    """A consumer without large letters pays for no client."""
    bucket = ScriptedBucket()
    port = over(bucket)
    assert bucket.opened == 0
    await port.keep(place(), PAYLOAD)
    assert bucket.opened == 1


@virtual
async def test_s3_is_told_the_digest_of_what_it_is_to_keep() -> None:
    """So that an answer means these very bytes; nothing of the key is in the request."""
    bucket = ScriptedBucket()
    await over(bucket).keep(place(), PAYLOAD)
    [(operation, asked)] = bucket.asked
    assert (operation, asked["Body"], asked["ChecksumSHA256"]) == (
        "PutObject",
        PAYLOAD,
        "I59Z7VXnN8dxR89VrQwbAwttfudIp0JpUvm4UtWpNeU=",
    )
    assert asked["Key"] == f"dead-letters/flights/{'f' * 64}-{place().sha256}"


@virtual
async def test_no_more_is_asked_for_than_the_payload_has() -> None:
    """And one byte, so that a larger object is noticed."""
    bucket = ScriptedBucket()
    assert await over(bucket).fetch(place()) == PAYLOAD
    assert bucket.asked[0][1]["Range"] == "bytes=0-7"


@pytest.mark.parametrize("trouble", [Throttled("slow down"), Unanswered("silence")])
def test_what_passes_is_waited_out_a_few_times(trouble: WorldError) -> None:
    """Then whoever asked decides: the shard waits, the redrive stops."""

    async def main() -> None:
        bucket = ScriptedBucket(trouble, trouble)
        await over(bucket).keep(place(), PAYLOAD)
        assert len(bucket.asked) == 3
        with pytest.raises(type(trouble)):
            await over(ScriptedBucket(*[trouble] * 9)).keep(place(), PAYLOAD)
        with pytest.raises(type(trouble)):
            await over(ScriptedBucket(*[trouble] * 9)).fetch(place())

    run_virtual(main)


@pytest.mark.parametrize(
    ("error", "said"),
    [(Missing, "no such object or bucket"), (Denied, "without s3:ListBucket"), (Rejected, "archived")],
)
def test_what_does_not_pass_is_a_lost_payload_that_says_why(error: type[WorldError], said: str) -> None:
    """Of this letter only."""

    async def main() -> None:
        with pytest.raises(Lost, match=f"s3://bucket/dead-letters/flights/f+-{place().sha256}: .*{said}"):
            await over(ScriptedBucket(error("archived"))).fetch(place())

    run_virtual(main)


@virtual
async def test_credentials_that_have_expired_are_no_lost_payload() -> None:
    """They keep every other payload away as well: whoever asked stops."""
    with pytest.raises(Unaccredited, match="renew them"):
        await over(ScriptedBucket(Unaccredited("renew them"))).fetch(place())


async def test_a_missing_bucket_says_what_to_do(aws: Aws, name: str) -> None:
    """Before anything has to be put."""
    port = S3Payloads(lambda: aws.call("s3"), bucket=name, chance=SeededChance(0))
    with pytest.raises(Missing, match=f"s3:HeadBucket on {name} .*create the bucket, or correct its name"):
        await port.check()
