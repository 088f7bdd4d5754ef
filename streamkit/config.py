"""Settings from outside the code: a TOML file over the consumer's keyword arguments, variables over both.

    keyword arguments  <  [consumers.<name>], [worker]  <  STREAMKIT_X  <  STREAMKIT_<NAME>__X  <  options

Whatever is set is checked, used or not. Nothing unknown is passed over: a typo must not run with a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec.structs import replace

from streamkit.consumer import Consumer, DynamoDBStream, Source
from streamkit.errors import ConfigurationError
from streamkit.settings import CONSUMER_SETTINGS, WORKER_SETTINGS, Address, Setting

PREFIX = "STREAMKIT_"
NO_SETTINGS = re.compile(r"STREAMKIT_(CONFIG|LOCALSTACK(_.*)?|DYNAMODB_LOCAL_URL|DEMO_.*)")
"""Variables of the same prefix that other parts read."""

_OF_CONSUMERS = {setting.name: setting for setting in CONSUMER_SETTINGS}
_OF_THE_WORKER = {setting.name: setting for setting in WORKER_SETTINGS}
_BY_KEY = {setting.key: setting for setting in (*CONSUMER_SETTINGS, *WORKER_SETTINGS)}


class WorkerSettings(msgspec.Struct, frozen=True):
    """How a worker process runs and speaks."""

    until_idle: timedelta | None = None
    grace: timedelta = timedelta(seconds=25)
    log_format: Literal["json", "console"] | None = None
    """None leaves it to whether there is a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    health: Address | None = None
    """None serves no health and metrics."""
    metrics: Literal["emf"] | None = None
    metrics_interval: timedelta = timedelta(minutes=1)


class Given(msgspec.Struct, frozen=True):
    """A value, checked, and what set it."""

    setting: Setting
    value: Any
    origin: str
    owner: str | None = None
    """The one consumer it is for, by name; None is for all."""


class Configured(msgspec.Struct, frozen=True):
    """What is to run, and how."""

    consumers: tuple[Consumer, ...]
    worker: WorkerSettings


def configure(
    consumers: Sequence[Consumer],
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    options: Mapping[str, str | None] | None = None,
) -> Configured:
    """Return the consumers as the file and the environment want them, and the settings of the worker.

    `options` are worker settings of the command line, None where not given. Raises `ConfigurationError` that names
    what set a wrong value, and what was expected.
    """
    names = [consumer.name for consumer in consumers]
    given = [
        *(_of_file(file, names) if file else ()),
        *sorted(_of_environment(environment, names), key=lambda each: each.owner is not None),
        *_of_options(options or {}),
    ]
    worker = {each.setting.field: each.value for each in given if each.setting.name in _OF_THE_WORKER}
    return Configured(
        tuple(_applied(consumer, given) for consumer in consumers),
        WorkerSettings(**worker),
    )


def _applied(consumer: Consumer, given: Iterable[Given]) -> Consumer:
    """Return the consumer with what is meant for it; a later value replaces an earlier one."""
    parts: dict[str, dict[str, Given]] = {}
    for each in given:
        if each.setting.name in _OF_CONSUMERS and each.owner in (None, consumer.name):
            parts.setdefault(each.setting.part, {})[each.setting.field] = each
    for part, found in sorted(parts.items(), key=lambda each: each[0] == "dead_letters"):  # the queue, then its bucket
        try:
            consumer = consumer.using(**_changes(consumer, part, found))
        except ConfigurationError as error:
            origins = ", ".join(each.origin for each in found.values())
            raise ConfigurationError(f"{origins}: {error}") from error
    return consumer


def _changes(consumer: Consumer, part: str, found: Mapping[str, Given]) -> dict[str, Any]:
    """Return the fields of the consumer that change with a part of it."""
    values: dict[str, Any] = {field: each.value for field, each in found.items()}
    letters = consumer.dead_letters
    if not part:
        if letters is not None and "dead_letters" in values:  # another queue, the same bucket
            values["dead_letters"] = replace(letters, queue=values["dead_letters"].queue)
        return values
    if part == "dead_letters" and letters is None:
        if any(each.owner is not None for each in found.values()):
            raise ConfigurationError("expected dead_letters for a bucket to belong to, got none")
        return {}  # meant for others
    if part == "source":
        values = dict(_of_source(consumer.source, found))
    return {part: replace(getattr(consumer, part), **values)}


def _of_source(source: Source, given: Mapping[str, Given]) -> Iterator[tuple[str, object]]:
    """Give the fields of this kind of source. What it has no use for was meant for others, unless it was named."""
    for name, each in given.items():
        field = "table" if name == "stream" and isinstance(source, DynamoDBStream) else name
        if field in source.__struct_fields__:
            yield field, each.value
        elif each.owner is not None:
            raise ConfigurationError(f"expected a setting that {type(source).__name__} has, got {name!r}")


# Where values come from


def _of_options(options: Mapping[str, str | None]) -> Iterator[Given]:
    for name, text in options.items():
        if text is not None:
            yield _given(_OF_THE_WORKER[name], text, f"--{name.replace('_', '-')}")


def _of_environment(environment: Mapping[str, str], names: Sequence[str]) -> Iterator[Given]:
    prefixes = {name: re.sub(r"[-.]", "_", name).upper() for name in names}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or NO_SETTINGS.fullmatch(variable):
            continue
        whose, separator, key = variable.removeprefix(PREFIX).rpartition("__")
        setting = _BY_KEY.get(key)
        if setting is None or (separator and setting.name in _OF_THE_WORKER):
            owned = [f"{prefix}__{each.key}" for prefix in prefixes.values() for each in CONSUMER_SETTINGS]
            meant = _meant(variable.removeprefix(PREFIX), [*_BY_KEY, *owned], show=PREFIX)
            raise ConfigurationError(f"{variable}: expected the variable of a setting{meant}")
        owner = _owner(variable, whose, prefixes) if separator else None
        yield _given(setting, environment[variable], variable, owner)


def _owner(variable: str, whose: str, prefixes: Mapping[str, str]) -> str:
    """Return the name of the consumer that a variable is for."""
    owners = [name for name, prefix in prefixes.items() if prefix == whose]
    if len(owners) > 1:
        raise ConfigurationError(f"{variable}: expected one consumer of that name, got {', '.join(owners)}; use a file")
    if not owners:
        known = ", ".join(prefixes.values())
        raise ConfigurationError(f"{variable}: expected a consumer that runs here ({known}), got {whose!r}")
    return owners[0]


def _of_file(path: Path, names: Sequence[str]) -> Iterator[Given]:
    tables = _parsed(path)
    _expect_known(tables, ("consumers", "worker"), str(path), "table")
    yield from _of_table(tables.get("worker", {}), _OF_THE_WORKER, f"{path}: worker")
    consumers = _table(tables.get("consumers", {}), f"{path}: consumers")
    for name, table in consumers.items():
        if name not in names:
            _expect_no_typo(name, [known for known in names if known not in consumers], path)
        yield from _of_table(table, _OF_CONSUMERS, f"{path}: consumers.{name}", owner=name)


def _parsed(path: Path) -> dict[str, object]:
    import tomllib  # late: a function has a file seldom

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"expected a configuration file at {path}, got: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected TOML, got: {error}") from error


def _of_table(
    table: object, settings: Mapping[str, Setting], origin: str, *, owner: str | None = None
) -> Iterator[Given]:
    values = dict(_flat(_table(table, origin), settings))
    _expect_known(values, settings, origin, "setting")
    for name, value in values.items():
        yield _given(settings[name], value, f"{origin}.{name}", owner)


def _flat(table: Mapping[str, object], settings: Mapping[str, Setting]) -> Iterator[tuple[str, object]]:
    """Give the values of one table of settings, those of its groups under names such as `retry.attempts`."""
    groups = {setting.part for setting in settings.values() if "." in setting.name}
    for name, value in table.items():
        if name in groups and isinstance(value, dict):
            group = cast("dict[str, object]", value)
            yield from ((f"{name}.{field}", each) for field, each in group.items())
        else:
            yield name, value


def _table(value: object, origin: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{origin}: expected a table, got {value!r}")
    return cast("dict[str, object]", value)


# What every source must keep to


def _given(setting: Setting, value: object, origin: str, owner: str | None = None) -> Given:
    try:
        return Given(setting, setting.value(value, origin), origin, owner)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _expect_known(got: Iterable[str], known: Iterable[str], origin: str, what: str) -> None:
    names = list(known)
    for name in got:
        if name not in names:
            raise ConfigurationError(f"{origin}: expected the name of a {what}, got {name!r}{_meant(name, names)}")


def _expect_no_typo(name: str, names: Sequence[str], path: Path) -> None:
    """Raise `ConfigurationError` for a table whose name nearly is that of a consumer without one.

    A file may serve several processes, so a table for a consumer that does not run here is none of our business.
    """
    from difflib import get_close_matches

    for meant in get_close_matches(name, names, n=1, cutoff=0.8):
        raise ConfigurationError(
            f"{path}: consumers.{name}: expected consumers.{meant}; if both exist, add an empty table for {meant}"
        )


def _meant(name: str, known: Iterable[str], *, show: str = "") -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {show}{close[0]}?" if close else "; docs/configuration.md lists them"
