"""From MODULE:CONSUMER to consumers, configured; every way it can go wrong is one line."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

import streamkit
from streamkit.cli.failing import shown
from streamkit.config import Configured, configure
from streamkit.consumer import Consumer
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

_PATH = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")

consumers_argument = click.argument("paths", nargs=-1, required=True, metavar="MODULE:CONSUMER...")
config_option = click.option(
    "--config",
    envvar="STREAMKIT_CONFIG",
    type=click.Path(path_type=Path),
    help="A TOML file of settings (docs/configuration.md).",
)


def configured(
    paths: Sequence[str], *, config: Path | None, options: Mapping[str, str | None] | None = None
) -> Configured:
    """Load consumers and apply file, environment and options. Raises `ConfigurationError`."""
    consumers = [load(path) for path in paths]
    names = [consumer.name for consumer in consumers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"expected consumers of different names, got {name!r} {names.count(name)} times")
    return configure(consumers, file=config, environment=os.environ, options=options)


def load(path: str) -> Consumer:
    """Import the consumer at MODULE:CONSUMER, looking in the current directory first. Raises `ConfigurationError`."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        raise ConfigurationError(f"expected MODULE:CONSUMER, for example {_example(path)}, got {path!r}")
    module = _import(parts[1])
    found = getattr(module, parts[2], None)
    if isinstance(found, Consumer):
        return found
    if found is None:
        raise ConfigurationError(f"module {parts[1]}: expected {_consumers(module)}, got {parts[2]!r}")
    raise ConfigurationError(
        f"{path}: expected a consumer made by @consumer(...), got {_kind(found)}; {parts[1]} has {_consumers(module)}"
    )


def handler_of(path: str) -> str:
    """Return how Lambda calls the consumer at MODULE:CONSUMER: `module.name`. Raises `ConfigurationError`."""
    consumer = load(path)
    module, _, name = path.partition(":")
    for handler, value in vars(sys.modules[module]).items():
        if getattr(value, "__func__", None) is Consumer.lambda_handler and value.__self__ is consumer:
            return f"{module}.{handler}"
    raise ConfigurationError(f"module {module}: expected `lambda_handler = {name}.lambda_handler` for Lambda, got none")


def _example(path: str) -> str:
    """Return what was probably meant by a path like consumers/flights.py."""
    module, _, name = path.partition(":")
    module = module.removesuffix(".py").strip("./").replace("/", ".")
    meant = f"{module}:{name or module.rpartition('.')[2]}"
    return meant if _PATH.fullmatch(meant) else "consumers.flights:flights"


def _consumers(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Consumer)]
    return f"one of its consumers ({', '.join(names)})" if names else "a consumer, which it has none of"


def _kind(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path[:1]:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and f"{name}.".startswith(f"{missing.name}."):
            raise ConfigurationError(
                f"expected the module {name} in {here} or installed, got no module {missing.name}"
            ) from missing
        raise _broken(name, missing) from missing
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> ConfigurationError:
    """Return the error for a module that is there and fails: what failed, and the line of the user's that did it."""
    what = str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
    return ConfigurationError(f"module {name} fails to import: {what}{_culprit(error)}")


def _culprit(error: BaseException) -> str:
    """Return the last line below the current directory that took part, or else the last one of all."""
    if isinstance(error, SyntaxError):
        return f" ({shown(error.filename)}:{error.lineno})" if error.filename else ""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<frozen")]
    theirs = [each for each in frames if _is_theirs(Path(each.filename))]
    return "".join(f" ({shown(each.filename)}:{each.lineno})" for each in (theirs or frames)[-1:])


def _is_theirs(file: Path) -> bool:
    """Say whether a file is one of whoever runs the command, not of a library or of streamkit."""
    ours = file.is_relative_to(Path(streamkit.__file__).parent)
    return file.is_relative_to(Path.cwd()) and "site-packages" not in file.parts and not ours
