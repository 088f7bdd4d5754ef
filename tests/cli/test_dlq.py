"""`streamkit dlq`, on an embedded world: what is in the queue, through the handler again, or thrown away."""

from __future__ import annotations

import base64
import io
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamkit.core.envelope import read
from tests.e2e.waiting import eventually
from tests.nursery import Child

Run = Callable[..., Any]
Program = Callable[..., Child]
Stage = Callable[..., str]
Client = Callable[[str], Any]

HANDLER = """if os.environ.get("BAD"): raise Poison("no price")
    if os.path.exists("slow"): await asyncio.sleep(0.3)
    print(record.text(), record.redriven, flush=True)"""


def letters_of(operate: Run, *options: str) -> Any:
    """Return what `dlq list --json` says."""
    listed = operate("dlq", "list", *options, "--json")
    assert listed.status == 0, listed.err
    return json.loads(listed.out)


def filled(run: Run, operate: Run, stage: Stage, client: Client, word: str) -> str:
    """Return the path of a consumer with six letters in its queue: keys a and b, payloads 0 to 5."""
    path = stage(word, handler=HANDLER, settings="concurrency=1")
    assert operate("init", path, "--queue").status == 0
    for n in range(6):
        client("kinesis").put_record(StreamName=word, Data=str(n).encode(), PartitionKey="ab"[n % 2])
    assert run("run", path, "--until-idle", "0.5", BAD="yes").status == 0
    return path


@pytest.mark.e2e
@pytest.mark.slow
def test_letters_are_listed_shown_and_redriven_and_an_interrupted_redrive_goes_on(
    run: Run, operate: Run, program: Program, stage: Stage, client: Client, project: Path
) -> None:
    """Keys and payloads are shown by `show` only; terminated half-way, each is done once."""
    path = filled(run, operate, stage, client, "letters")
    listed = operate("dlq", "list", path).out
    assert "Poison     no price" in listed
    assert max(map(len, listed.splitlines())) <= 80
    found = letters_of(operate, path)
    assert (found["about"], found["complete"], [each["letters"] for each in found["keys"]]) == (6, True, [3, 3])
    assert not {"key", "payload"} & found["letters"][0].keys()
    third = found["letters"][2]
    shown = operate("dlq", "show", path, third["letter"][:8]).out
    assert "key        a  (digest " in shown
    assert "payload, 1 bytes, JSON:\n2" in shown
    assert "Poison: no price" in shown
    assert operate("dlq", "show", path, third["letter"], "--raw").out == "2"
    assert operate("dlq", "redrive", path, "--dry-run").out.startswith(
        "queue letters-dlq: 6 letters would run, of 2 keys"
    )

    (project / "slow").touch()
    with program("dlq", "redrive", path) as half:
        assert half.stdout is not None
        first = [half.stdout.readline() for _ in range(2)]
        half.send_signal(signal.SIGTERM)
        rest, _ = half.communicate()
        assert (half.returncode, "stopped: interrupted" in rest) == (1, True)
    (project / "slow").unlink()
    again = operate("dlq", "redrive", path)
    assert again.status == 0
    effects = [line.split() for line in [*first, *rest.splitlines(), *again.out.splitlines()] if "True" in line]
    assert sorted(payload for payload, _ in effects) == list("012345")
    assert letters_of(operate, path)["about"] == 0
    assert "nothing to redrive" in operate("dlq", "redrive", path).out


@pytest.mark.e2e
@pytest.mark.slow
def test_letters_that_fail_again_stay_and_others_may_be_purged(
    run: Run, operate: Run, stage: Stage, client: Client, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1 says that some stayed; a purge deletes what its filter means, having kept a copy."""
    path = filled(run, operate, stage, client, "purged")
    stayed = operate("dlq", "redrive", path, BAD="yes")
    assert (stayed.status, "6  stayed: no price" in stayed.out) == (1, True)
    found = letters_of(operate, path, "--payload")
    assert [base64.b64decode(each["payload"]) for each in found["letters"]] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert operate("dlq", "purge", path, "--key", "a", "--dry-run").out.endswith("0 letters deleted (--dry-run)\n")
    with monkeypatch.context() as nobody:
        nobody.setattr("sys.stdin", io.StringIO())
        unasked = operate("dlq", "purge", path, "--key", "a")
    assert (unasked.status, "say --yes where nobody is" in unasked.err) == (2, True)
    purged = operate("dlq", "purge", path, "--key", "a", "--keep", "kept.ndjson", "--yes")
    assert (purged.status, purged.out.splitlines()[-1]) == (0, "queue purged-dlq: 3 letters deleted")
    assert len((project / "kept.ndjson").read_text().splitlines()) == 3
    assert letters_of(operate, "--queue", "purged-dlq")["about"] == 3


def test_wrong_use_gets_an_answer_that_helps(call: Run, operate: Run, world: Mapping[str, str]) -> None:
    """What was expected, and what came."""
    del world
    assert call("dlq", "purge", "shop:orders").complaint.startswith("Say which letters, by a filter such as --reason")
    assert "expected an age such as 90m" in call("dlq", "list", "shop:orders", "--since", "yesterday").complaint
    assert call("dlq", "list").complaint.startswith("Name a consumer (MODULE:CONSUMER), or a queue")
    missing = operate("dlq", "list", "--queue", "nowhere")
    assert (missing.status, "nowhere" in missing.err) == (2, True)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_redrive_restores_a_parked_key_beside_a_running_worker(
    operate: Run, program: Program, stage: Stage, client: Client, project: Path
) -> None:
    """Its letters first, in order; then the worker handles the key's next record itself."""
    path = stage(
        "parking",
        handler="""if os.path.exists("bad"): raise Poison("no price")
    with open("effects", "a") as file: print(record.text(), record.redriven, file=file)""",
        settings="on_dead_letter='park'",
    )
    assert operate("init", path, "--queue").status == 0
    (project / "bad").touch()
    fast = {"STREAMKIT_CHECKPOINT_LEASE": "5s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms"}

    def put(*payloads: str) -> None:
        for each in payloads:
            client("kinesis").put_record(StreamName="parking", Data=each.encode(), PartitionKey="k")

    with program("run", path, **fast) as worker:
        put("0", "1", "2")
        eventually(lambda: letters_of(operate, path)["about"] == 3, "the key's records are in the queue")
        (project / "bad").unlink()
        redriven = operate("dlq", "redrive", path, **fast)
        assert redriven.status == 0, redriven.err
        assert "1 key parked no more" in redriven.out
        put("3")
        effects = project / "effects"
        eventually(lambda: "3 False" in effects.read_text(), "the worker handles the key's next record")
        worker.terminate()
        worker.communicate()
    assert effects.read_text().split("\n") == ["0 True", "1 True", "2 True", "3 False", ""]


@pytest.mark.e2e
@pytest.mark.slow
def test_a_payload_over_the_queues_limit_waits_in_the_bucket_and_is_redriven(
    operate: Run, program: Program, run: Run, stage: Stage, client: Client, project: Path
) -> None:
    """A bucket that does not answer holds the shard up and loses nothing; its objects tell no key and no payload."""
    path = stage("large", handler=HANDLER.replace("record.text()", "len(record.data)"))
    bucket = {"STREAMKIT_DEAD_LETTERS_BUCKET": "large-payloads"}
    missing = operate("init", path, "--queue", **bucket)
    assert (missing.status, "s3:HeadBucket on large-payloads" in missing.err) == (2, True)
    s3 = client("s3")
    s3.create_bucket(Bucket="large-payloads")
    assert operate("init", path, "--queue", **bucket).status == 0
    s3.delete_bucket(Bucket="large-payloads")

    payload = bytes(range(256)) * 4_000
    for data in (payload, b"small"):
        client("kinesis").put_record(StreamName="large", Data=data, PartitionKey="secret")
    with program("run", path, "--until-idle", "0.5", BAD="yes", **bucket) as worker:
        assert worker.stderr is not None
        assert any('"letters.delayed"' in line for line in worker.stderr)
        s3.create_bucket(Bucket="large-payloads")
        worker.communicate()
        assert worker.wait() == 0

    [kept] = s3.list_objects_v2(Bucket="large-payloads")["Contents"]
    assert kept["Key"].startswith("dead-letters/large/")
    assert "secret" not in kept["Key"]
    found = letters_of(operate, path, "--payload")
    assert [each.get("payload_at") for each in found["letters"]] == [f"s3://large-payloads/{kept['Key']}", None]
    handle = found["letters"][0]["letter"]
    shown = json.loads(operate("dlq", "show", path, handle, "--json", **bucket).out)
    assert base64.b64decode(shown["payload"]) == payload
    elsewhere = operate("dlq", "show", "--queue", "large-dlq", handle)
    assert f"it is s3://large-payloads/{kept['Key']}" in elsewhere.out
    assert operate("dlq", "show", "--queue", "large-dlq", handle, "--raw").status == 2
    lost = operate("dlq", "purge", "--queue", "large-dlq", "--letter", handle, "--keep", "lost.ndjson", "--yes")
    assert (lost.status, "nothing of this round is deleted" in lost.err) == (2, True)
    assert operate("dlq", "redrive", path).status == 1
    done = operate("dlq", "redrive", path, **bucket)
    assert (done.status, done.out.splitlines()[0]) == (0, f"{len(payload)} True"), done.err
    assert letters_of(operate, path)["about"] == 0

    client("kinesis").put_record(StreamName="large", Data=payload, PartitionKey="secret")
    assert run("run", path, "--until-idle", "0.5", BAD="yes", **bucket).status == 0
    assert operate("dlq", "purge", path, "--all", "--keep", "whole.ndjson", "--yes", **bucket).status == 0
    assert [read(line).record.data for line in (project / "whole.ndjson").read_text().splitlines()] == [payload]
