"""Settings from outside: what overrides what, and how a wrong one is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit import ConfigurationError, Consumer, DynamoDBStream, Kinesis, Record, Retry, Sqs, consumer
from streamkit.config import Configured, WorkerSettings, configure
from streamkit.runtimes.worker import Options
from streamkit.settings import CONSUMER_SETTINGS, WORKER_SETTINGS, Duration, Setting, Size, Whole, said, said_size

ROOT = Path(__file__).resolve().parent.parent
SECOND = timedelta(seconds=1)


async def handle(record: Record) -> None:
    """Do nothing."""


FLIGHTS = consumer("flights", source=Kinesis("flights"), dead_letters=Sqs("dlq"), concurrency=7)(handle)
EU = consumer("flights.eu-west", source=Kinesis("eu"))(handle)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file of settings, named as the user would name it."""
    monkeypatch.chdir(tmp_path)

    def file(text: str) -> Path:
        path = Path("streamkit.toml")
        path.write_text(text, encoding="utf-8")
        return path

    return file


def flights(file: Path | None = None, **environment: str) -> Consumer:
    """The consumer of flights as configured."""
    return configure([FLIGHTS, EU], file=file, environment=environment).consumers[0]


def refusal(
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> str:
    """What is said when it is refused: one line."""
    with pytest.raises(ConfigurationError) as refused:
        configure([FLIGHTS, EU], file=file, environment=environment or {}, options=options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_nothing_set_changes_nothing() -> None:
    """The very same consumers, and the defaults of the worker."""
    assert configure([FLIGHTS, EU], environment={"PATH": "/bin"}) == Configured((FLIGHTS, EU), WorkerSettings())


def test_the_defaults_of_the_worker_are_one_truth() -> None:
    """Those of the configuration are those of the worker."""
    assert (WorkerSettings().until_idle, WorkerSettings().grace) == (Options().until_idle, Options().grace)


def test_a_file_overrides_the_code_and_variables_override_the_file(write: Write) -> None:
    """And a variable for one consumer overrides the one for all."""
    file = write("[consumers.flights]\nconcurrency = 8\nbatch_size = 9\nlinger = '1s'")
    assert flights().concurrency == 7
    assert flights(file).concurrency == 8
    assert flights(file, STREAMKIT_CONCURRENCY="9").concurrency == 9
    both = {"STREAMKIT_FLIGHTS__CONCURRENCY": "10", "STREAMKIT_CONCURRENCY": "9"}
    found, other = configure([FLIGHTS, EU], file=file, environment=both).consumers
    assert (found.concurrency, found.batch_size, found.linger) == (10, 9, SECOND)
    assert (other.concurrency, other.batch_size) == (9, EU.batch_size)


def test_a_variable_for_one_consumer_has_its_name_in_capitals() -> None:
    """With - and . as _; everything else of the consumer stays."""
    _, found = configure([FLIGHTS, EU], environment={"STREAMKIT_FLIGHTS_EU_WEST__STREAM": "other"}).consumers
    assert found == replace(EU, source=Kinesis("other"))


def test_two_consumers_of_one_name_in_capitals_are_not_guessed_at() -> None:
    """A variable that means either is refused; others are not concerned."""
    twins = [FLIGHTS.using(name="a-b"), FLIGHTS.using(name="a.b")]
    with pytest.raises(ConfigurationError, match=r"expected one consumer of that name, got a-b, a\.b; use a file"):
        configure(twins, environment={"STREAMKIT_A_B__LINGER": "1s"})
    assert configure(twins, environment={"STREAMKIT_LINGER": "1s"}).consumers[1].linger == SECOND


def test_what_a_setting_belongs_to_keeps_its_other_values() -> None:
    """`retry.attempts` from outside leaves the other arguments of Retry as the code has them."""
    mine = FLIGHTS.using(retry=Retry(attempts=2, maximum=9 * SECOND))
    found = configure([mine], environment={"STREAMKIT_RETRY_ATTEMPTS": "3"}).consumers[0]
    assert found.retry == Retry(attempts=3, maximum=9 * SECOND)


def test_a_file_may_name_groups_either_way(write: Write) -> None:
    """As a dotted name, or as a table."""
    dotted = flights(write("[consumers.flights]\nretry.attempts = 3\ncheckpoint.table = 't-1'"))
    tables = flights(write("[consumers.flights.retry]\nattempts = 3\n[consumers.flights.checkpoint]\ntable = 't-1'"))
    assert dotted == tables
    assert (dotted.retry.attempts, dotted.table) == (3, "t-1")


def test_a_table_is_set_as_a_stream_is() -> None:
    """`stream` names what is read, whichever kind of source it is; what the other kind has is for others."""
    audit = consumer("audit", source=DynamoDBStream("flights"))(handle)
    environment = {"STREAMKIT_COMPRESSION": "gzip", "STREAMKIT_AUDIT__STREAM": "flights-staging"}
    kinesis, table = configure([FLIGHTS, audit], environment=environment).consumers
    assert table.source == DynamoDBStream("flights-staging")
    assert (kinesis.source.stream, kinesis.source.compression) == ("flights", "gzip")
    with pytest.raises(ConfigurationError, match="__COMPRESSION: expected a setting that DynamoDBStream"):
        configure([audit], environment={"STREAMKIT_AUDIT__COMPRESSION": "gzip"})


def test_a_queue_and_its_bucket_are_set_apart(write: Write) -> None:
    """Whichever comes first; a bucket is for a consumer that has dead letters."""
    mine = FLIGHTS.using(dead_letters=Sqs("dlq", "declared"))
    assert configure([mine], environment={"STREAMKIT_DEAD_LETTERS": "q"}).consumers[0].dead_letters == Sqs(
        "q", "declared"
    )
    file = write("[consumers.flights]\ndead_letters_bucket = 'from-outside'\ndead_letters = 'q'")
    assert flights(file).dead_letters == Sqs("q", "from-outside")
    without = FLIGHTS.using(dead_letters=None)
    both = {"STREAMKIT_DEAD_LETTERS": "q", "STREAMKIT_DEAD_LETTERS_BUCKET": "bucket"}
    assert configure([without], environment=both).consumers[0].dead_letters == Sqs("q", "bucket")
    alone = {"STREAMKIT_DEAD_LETTERS_BUCKET": "bucket"}
    assert configure([without], environment=alone).consumers[0].dead_letters is None
    with pytest.raises(ConfigurationError, match="__DEAD_LETTERS_BUCKET: expected dead_letters for a bucket"):
        configure([without], environment={"STREAMKIT_FLIGHTS__DEAD_LETTERS_BUCKET": "bucket"})


def test_settings_of_the_worker_come_from_file_variables_and_options(write: Write) -> None:
    """The nearer to the user's hand, the stronger."""
    file = write("[worker]\nuntil_idle = 5\ngrace = '1m'\nlog_format = 'json'\nlog_level = 'debug'")
    environment = {"STREAMKIT_GRACE": "2m", "STREAMKIT_LOG_LEVEL": "error"}
    options = {"log_level": "warning", "grace": None}
    worker = configure([FLIGHTS], file=file, environment=environment, options=options).worker
    assert worker == WorkerSettings(5 * SECOND, 120 * SECOND, "json", "warning")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        (
            "stream",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/x",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/x",
        ),
        ("start", "LATEST", "LATEST"),
        ("start", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("role", "arn:aws:iam::123456789012:role/reader", "arn:aws:iam::123456789012:role/reader"),
        ("role", "none", None),
        ("compression", "zstd", "zstd"),
        ("compression", "none", None),
        ("poll", "250ms", SECOND / 4),
        ("fan_out", "true", True),
        ("fan_out", "readers-2", "readers-2"),
        ("dead_letters", "other-dlq", Sqs("other-dlq")),
        ("dead_letters_bucket", "large-payloads", "large-payloads"),
        ("dead_letters_bucket", "none", None),
        ("concurrency", "10000", 10_000),
        ("linger", "0", timedelta()),
        ("handler_timeout", "1.5s", 1.5 * SECOND),
        ("handler_timeout", "5 m", 300 * SECOND),
        ("retry.max_age", "2d", timedelta(days=2)),
        ("retry.max_age", "none", None),
        ("outage.limit", "1h", timedelta(hours=1)),
        ("checkpoint.lease", "10", 10 * SECOND),
        ("checkpoint.window", "100", 100),
        ("read_ahead_bytes", "64MiB", 64 * 2**20),
        ("read_ahead_bytes", "12345678901", 12_345_678_901),
        ("max_record_bytes", "0.5kib", 512),
        ("on_dead_letter", "park", "park"),
        ("on_gap", "halt", "halt"),
        ("code_version", "v1.2-3-gabc", "v1.2-3-gabc"),
    ],
)
def test_a_variable_reads_as_its_setting_says(name: str, text: str, value: object) -> None:
    """Durations and sizes with units, words as they are."""
    setting = next(each for each in CONSUMER_SETTINGS if each.name == name)
    found: Any = flights(None, **{setting.variable: text})
    assert getattr(getattr(found, setting.part) if setting.part else found, setting.field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("concurrency", text) for text in ("many", "", "0", "10001", "1.5", "-1", "1_0", " 1", "\u0661", "9" * 5000)),
        *(("linger", text) for text in ("", "soon", "-1", "301", "1x", "0x", "1 s s", "nan", "inf", "1e3", "9" * 20)),
        *(("max_record_bytes", text) for text in ("0", "1.5", "1MB", "10 GiBs", "1TiB", "0foo")),
        *(("start", text) for text in ("latest", "2026-01-31", "2026-01-31T12:00:00", "tomorrow", "")),
        *(("role", text) for text in ("reader", "arn:aws:iam::1:role/x", "")),
        *(("on_gap", text) for text in ("HALT", "none", "")),
        *(("stream", text) for text in ("", "two words")),
        ("dead_letters", ""),
        *(("dead_letters_bucket", text) for text in ("", "My_Bucket", "s3://bucket", "bucket/prefix", "b")),
        ("checkpoint.table", "a/b"),
        ("compression", "lzma"),
        ("code_version", "v" * 101),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, text: str) -> None:
    """What set it, what was expected, what came; and not more of that than fits a line."""
    setting = next(each for each in CONSUMER_SETTINGS if each.name == name)
    said = refusal({setting.variable: text})
    assert said.startswith(f"{setting.variable}: expected {setting.kind.expected}, got ")
    assert len(said) < 300


def test_the_error_for_a_wrong_value_reads_well() -> None:
    """As promised, to the letter."""
    assert refusal({"STREAMKIT_CONCURRENCY": "many"}) == (
        "STREAMKIT_CONCURRENCY: expected a whole number from 1 to 10000, got 'many'"
    )
    assert refusal({"STREAMKIT_FLIGHTS__LINGER": "1y"}) == (
        "STREAMKIT_FLIGHTS__LINGER: expected a duration such as 250ms, 10s, 5m or 1h, from 0s to 5m, got '1y'"
    )
    assert refusal({"STREAMKIT_READ_AHEAD_BYTES": "1"}) == (
        "STREAMKIT_READ_AHEAD_BYTES: expected bytes, or a size such as 64MiB, from 1MiB to 1024GiB, got '1'"
    )
    assert refusal(options={"grace": "long"}).startswith("--grace: expected a duration such as ")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("STREAMKIT_CONCURENCY", "1", "did you mean STREAMKIT_CONCURRENCY?"),
        ("STREAMKIT_RETRY_ATEMPTS", "1", "did you mean STREAMKIT_RETRY_ATTEMPTS?"),
        ("STREAMKIT_FLIGHTS__CONCURENCY", "1", "did you mean STREAMKIT_FLIGHTS__CONCURRENCY?"),
        ("STREAMKIT_FLIGHTS_CONCURRENCY", "1", "did you mean STREAMKIT_FLIGHTS__CONCURRENCY?"),
        ("STREAMKIT_FLIGHTS__GRACE", "1", "expected the variable of a setting"),
        (
            "STREAMKIT_FLIGHT__LINGER",
            "1",
            "expected a consumer that runs here (FLIGHTS, FLIGHTS_EU_WEST), got 'FLIGHT'",
        ),
        ("STREAMKIT_", "1", "expected the variable of a setting; docs/configuration.md lists them"),
        ("STREAMKIT___LINGER", "1", "expected a consumer that runs here"),
    ],
)
def test_an_unknown_variable_is_refused_with_what_was_meant(variable: str, text: str, expected: str) -> None:
    """A typo does not run with a default."""
    said = refusal({variable: text})
    assert said.startswith(f"{variable}: ")
    assert expected in said


@pytest.mark.parametrize(
    "variable",
    ["STREAMKIT_LOCALSTACK", "STREAMKIT_LOCALSTACK_PORT", "STREAMKIT_DYNAMODB_LOCAL_URL", "STREAMKIT_CONFIG", "OTHER"],
)
def test_variables_of_other_parts_are_none_of_our_business(variable: str) -> None:
    """The documented ones."""
    assert flights(None, **{variable: "anything"}) == FLIGHTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("concurrency = 1", "expected the name of a table, got 'concurrency'"),
        ("[consumer.flights]", "expected the name of a table, got 'consumer'; did you mean consumers?"),
        ("[worker]\ngrase = 1", "worker: expected the name of a setting, got 'grase'; did you mean grace?"),
        ("[worker]\nconcurrency = 1", "worker: expected the name of a setting, got 'concurrency'"),
        ("worker = 1", "worker: expected a table, got 1"),
        ("[consumers]\nflights = 1", "consumers.flights: expected a table, got 1"),
        ("[consumers.flights]\ngrace = 1", "consumers.flights: expected the name of a setting, got 'grace'"),
        ("[consumers.flights]\nretry.atempts = 1", "got 'retry.atempts'; did you mean retry.attempts?"),
        ("[consumers.flights]\nretry = 1", "consumers.flights: expected the name of a setting, got 'retry'"),
        ("[consumers.flights]\nconcurrency = 'many'", "consumers.flights.concurrency: expected a whole number from"),
        ("[consumers.flights]\nconcurrency = true", "consumers.flights.concurrency: expected a whole number from"),
        ("[consumers.flights]\nconcurrency = 1.0", "consumers.flights.concurrency: expected a whole number from"),
        ("[consumers.flights]\nlinger = nan", "consumers.flights.linger: expected a duration"),
        ("[consumers.flights]\nlinger = inf", "consumers.flights.linger: expected a duration"),
        ("[consumers.flights]\nlinger = [1]", "consumers.flights.linger: expected a duration"),
        ("[consumers.flights]\nlinger = false", "consumers.flights.linger: expected a duration"),
        ("[consumers.flights]\nstart = 2026-01-31T12:00:00", "consumers.flights.start: expected TRIM_HORIZON"),
        ("[consumers.flights]\nstart = 2026-01-31", "consumers.flights.start: expected TRIM_HORIZON"),
        ("[consumers.flights]\nstream = {}", "consumers.flights.stream: expected the name or ARN"),
        ("[consumers.other]\nlinger = 'x'", "consumers.other.linger: expected a duration"),
        (
            "[consumers.fligths]\nlinger = 1",
            "consumers.fligths: expected consumers.flights; if both exist, add an empty",
        ),
        ("consumers.flights.linger = ", "expected TOML, got: "),
    ],
)
def test_a_wrong_file_is_refused_at_the_place(write: Write, text: str, expected: str) -> None:
    """File, table, setting; what was expected, what came."""
    said = refusal(file=write(text))
    assert said.startswith("streamkit.toml: ")
    assert expected in said


def test_a_file_may_serve_processes_that_run_other_consumers(write: Write) -> None:
    """Their tables are checked, and are not ours."""
    file = write("[consumers.parcels]\nconcurrency = 1\n[consumers.flights]\n[consumers.fligths]\nlinger = 1")
    assert flights(file) == FLIGHTS


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """One line, whatever is wrong with it."""
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refusal(file=path)
    assert str(tmp_path) in refusal(file=tmp_path)


def test_values_that_do_not_go_together_are_refused_by_the_names_of_what_set_them(write: Write) -> None:
    """Each is fine by itself."""
    said = refusal({"STREAMKIT_RETRY_INITIAL": "40s"})
    assert said.startswith("STREAMKIT_RETRY_INITIAL: retry.initial: expected 0 to retry.maximum")
    said = refusal({"STREAMKIT_RETRY_INITIAL": "40s"}, write("[consumers.flights.retry]\nmaximum = 3"))
    assert said.startswith("streamkit.toml: consumers.flights.retry.maximum, STREAMKIT_RETRY_INITIAL: ")


BOUNDED = [each for each in CONSUMER_SETTINGS if isinstance(each.kind, Whole | Size | Duration)]
CROSSED = {"retry.initial", "retry.maximum", "outage.pause", "outage.maximum"}


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: str(setting.name))
def test_the_bounds_of_the_schema_are_those_of_the_consumer(setting: Setting) -> None:
    """What the schema lets through, the consumer takes; what is under the schema's bound, it does not."""
    kind = setting.kind
    assert isinstance(kind, Whole | Size | Duration)

    def using(value: object) -> Consumer:
        changed = {setting.field: value}
        part: Any = getattr(FLIGHTS, setting.part) if setting.part else None
        anew: Any = msgspec.structs.replace if isinstance(part, msgspec.Struct) else replace
        return FLIGHTS.using(**({setting.part: anew(part, **changed)} if part else changed))

    if setting.name not in CROSSED:
        using(kind.low)
        using(kind.high)
    with pytest.raises(ConfigurationError, match=setting.field):
        using(kind.low - timedelta(milliseconds=1) if isinstance(kind, Duration) else kind.low - 1)


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_said_of_a_bound_reads_back(number: int) -> None:
    """Durations and sizes in errors are written as they may be set."""
    span = timedelta(milliseconds=number)
    assert Duration(timedelta()).read(said(span)) == span
    assert Size(0, 2**60).read(said_size(number)) == number


@given(st.text(max_size=20) | st.integers() | st.floats() | st.booleans() | st.datetimes() | st.none())
def test_no_value_is_more_than_refused(value: object) -> None:
    """Every kind reads a value or raises its one error, whatever a file may hold."""
    for setting in (*CONSUMER_SETTINGS, *WORKER_SETTINGS):
        try:
            setting.value(value, "here")
        except ValueError as error:
            assert str(error).startswith(f"here: expected {setting.kind.expected}, got ")  # noqa: PT017 - either way is fine


SAID_OTHERWISE = {
    "stream": "in the code",
    "poll": "250ms; 500ms of a table",
    "outage.limit": "6h, or a quarter of the retention",
    "checkpoint.table": "`streamkit-<name>`",
    "code_version": "none",
    "dead_letters_bucket": "none",
    "log_format": "json; console on a terminal",
}
"""Defaults that are no value of their own."""
DEFAULTS = {"": consumer("any", source=Kinesis("any"))(handle), "source": Kinesis("any")}


def default(setting: Setting) -> str:
    """What holds where nothing is said: as the code has it."""
    if setting.name in SAID_OTHERWISE:
        return SAID_OTHERWISE[setting.name]
    of_a_consumer = setting in CONSUMER_SETTINGS
    owner = DEFAULTS.get(setting.part) or getattr(DEFAULTS[""], setting.part) if of_a_consumer else WorkerSettings()
    value = getattr(owner, setting.field)
    if isinstance(value, timedelta):
        return said(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return said_size(value) if isinstance(setting.kind, Size) else str(value)


def row(setting: Setting) -> str:
    """The line of the page that describes a setting."""
    said_of = (f"`{setting.name}`", f"`{setting.variable}`", setting.kind.expected, default(setting), setting.meaning)
    return f"| {' | '.join(said_of)} |"


def test_the_page_lists_every_setting_as_it_is() -> None:
    """docs/configuration.md has a line for each, with its default, and no line for any other."""
    lines = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "| `STREAMKIT_" in line]
    assert rows == [row(setting) for setting in (*CONSUMER_SETTINGS, *WORKER_SETTINGS)]
