"""The demo's verdict can be lost: whatever is tampered with, it says so."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

import streamkit
from streamkit.cli.demo import demo
from streamkit.cli.demo.checkout import Checkout
from streamkit.cli.demo.evidence import Evidence, Row
from streamkit.cli.demo.producer import damaged
from streamkit.cli.demo.verdict import judge
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress
from streamkit.errors import ConfigurationError
from streamkit.testing import letter, record

SHARD = "shardId-000000000000"


def line(number: int, *, delay: int | None = 20, departed: bool = True) -> bytes:
    """One flight of the file."""
    flight = {"flight": number, "carrier": "UA", "tailnum": "N1", "dep_time": 517 if departed else None}
    return msgspec.json.encode(flight | {"arr_delay": delay})


FILE = (line(1), line(2, delay=-5), line(3, delay=None), line(4, delay=None, departed=False))
PUT = tuple(
    record(data, key="N1", sequence=number, stream="flights")
    for number, data in enumerate((FILE[0], FILE[1], FILE[1], damaged(FILE[2], 0), FILE[2], FILE[3]), 1)
)
"""The second flight is put twice, the third damaged before it is put well."""
ROW = Row("UA", "2013-01#N1", (PUT[0].id, PUT[1].id, PUT[5].id), delay_minutes=15, late=1, cancelled=1, repeats=1)
SETTLED = ShardRow(Shard(SHARD), "TRIM_HORIZON", progress=Progress(Position(PUT[-1].sequence_number)))

TRUTH = Evidence(
    flights=FILE,
    acknowledged=frozenset({PUT[0].id, PUT[5].id}),
    put=PUT,
    rows=(ROW,),
    letters=(letter(PUT[3], reason="broken"), letter(PUT[4])),
    claims={PUT[2].id: PUT[1].id},
    victim="a",
    members=(Member("a", state="dead", holds=(SHARD,)), Member("b", state="left")),
    shards=(SETTLED,),
)

TAMPERINGS: dict[str, Callable[[Evidence], Evidence]] = {
    "an effect is deleted": lambda e: replace(e, rows=(replace(ROW, records=ROW.records[1:]),)),
    "a row of statistics is deleted": lambda e: replace(e, rows=()),
    "an effect happened twice": lambda e: replace(e, rows=(replace(ROW, records=(*ROW.records, ROW.records[-1])),)),
    "effects are in another order": lambda e: replace(e, rows=(replace(ROW, records=ROW.records[::-1]),)),
    "a minute of delay is added": lambda e: replace(e, rows=(replace(ROW, delay_minutes=16),)),
    "a late flight is forgotten": lambda e: replace(e, rows=(replace(ROW, late=0),)),
    "another carrier turns up": lambda e: replace(e, rows=(ROW, Row("B6", "2013-01#N2", (), cancelled=1))),
    "a letter is lost": lambda e: replace(e, letters=e.letters[1:]),
    "a good record is dead-lettered too": lambda e: replace(e, letters=(*e.letters, letter(PUT[0]))),
    "a duplicate's claim is lost": lambda e: replace(e, claims={}),
    "a duplicate's claimant had no effect": lambda e: replace(e, claims={PUT[2].id: PUT[4].id}),
    "a duplicate's claimant is another flight": lambda e: replace(e, claims={PUT[2].id: PUT[0].id}),
    "a record is settled that was never put": lambda e: replace(e, put=PUT[1:]),
    "an acknowledged record is not in the stream": lambda e: replace(e, acknowledged=frozenset({f"f:{SHARD}:99:0"})),
    "a flight was never put": lambda e: replace(e, flights=(*FILE, line(5))),
    "a frontier stays behind": lambda e: replace(e, shards=(replace(SETTLED, progress=Progress(Position("5"))),)),
    "a shard has no row": lambda e: replace(e, shards=()),
    "the victim is still alive": lambda e: replace(e, members=(Member("a"), Member("b", state="left"))),
    "the survivor did not leave": lambda e: replace(e, members=(e.members[0], Member("b"))),
}


def test_what_adds_up_is_said_in_one_line() -> None:
    """Distinct records put, each with one fate."""
    verdict = judge(TRUTH)
    assert [check.objection() for check in verdict.checks if not check.holds] == []
    assert verdict.sentence == "conserved: 6 put = 3 handled + 1 duplicates + 2 dead-lettered, 0 lost"
    assert verdict.reasons == {"broken": 1, "no arrival delay": 1}


def test_a_letter_that_came_twice_is_one_dead_record() -> None:
    """A crash between queue and checkpoint sends a letter again: the record is dead once."""
    verdict = judge(replace(TRUTH, letters=(*TRUTH.letters, *TRUTH.letters)))
    assert verdict.holds
    assert verdict.dead == 2


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampered_evidence_does_not_hold(tampering: Callable[[Evidence], Evidence]) -> None:
    """Each thing the demo claims can be found false."""
    verdict = judge(tampering(TRUTH))
    assert not verdict.holds
    assert verdict.sentence.startswith("not conserved: ")


@pytest.mark.parametrize("kind", range(3))
def test_damaged_payloads_are_no_json_of_a_flight(kind: int) -> None:
    """What the producer damages, nobody can take for the flight it was."""

    class Numbered(msgspec.Struct):
        flight: int
        tailnum: str

    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(damaged(FILE[0].replace(b'"carrier":"UA",', b""), kind), type=Numbered)


def test_the_demo_runs_in_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed without the repository, it says in one line what it needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(streamkit, "__file__", str(tmp_path / "streamkit" / "__init__.py"))
    with pytest.raises(ConfigurationError, match="expected a checkout of the repository"):
        Checkout.find()


@pytest.mark.parametrize(("status", "kept"), [(0, False), (1, True)])
def test_logs_are_kept_where_the_demo_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, *, kept: bool
) -> None:
    """Somebody will look into them; else nothing is left behind."""

    async def played(*, flights: int | None, logs: Path) -> int:
        (logs / "worker 1.log").write_text(f"{flights} flights", encoding="utf-8")
        return status

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("streamkit.cli.demo.play.play", played)
    assert demo.main(["--flights", "400"], standalone_mode=False) == status
    assert bool(list(tmp_path.iterdir())) is kept


def test_the_data_are_a_week_of_flights() -> None:
    """6,099 lines, as their README says."""
    flights = Checkout.find().flights(None)
    with gzip.open(Checkout.find().root / "consumers/data/flights-2013-week1.ndjson.gz") as file:
        assert b"".join(each + b"\n" for each in flights) == file.read()
    assert len(flights) == len(set(flights)) == 6099
