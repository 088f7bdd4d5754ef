"""`streamkit zip`: what a Lambda function is made of, with its bytecode."""

from __future__ import annotations

import compileall
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from py_compile import PycInvalidationMode
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import click

import streamkit
from streamkit.cli.failing import shown
from streamkit.cli.loading import config_option, configured, handler_of
from streamkit.errors import ConfigurationError
from streamkit.runtimes.function.function import expect_possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamkit.consumer import Consumer

_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's architectures, and what wheels call them."""
_HERE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
_LIMIT_SECONDS = 300
_MOST_BYTES = 250 * 1024 * 1024
"""Of a function, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")
_ALWAYS_1980 = (1980, 1, 1, 0, 0, 0)
"""The same files are the same zip."""
_OWN_ZSTD = (3, 14)
"""From this Python on the standard library has it."""


@click.command("zip")
@click.argument("path", metavar="MODULE:CONSUMER")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="CONSUMER.zip, if not said.")
@click.option("--architecture", type=click.Choice([*_MACHINES]), default=_HERE, show_default=True)
@click.option("--with", "more", multiple=True, metavar="REQUIREMENT", help="A package that the handler needs, for pip.")
@config_option
def zip_(*, path: str, output: Path | None, architecture: str, more: tuple[str, ...], config: Path | None) -> None:
    """Make the zip of a Lambda function that runs the consumer.

    It holds the consumer's module, or the whole of the package that it is in, streamkit, msgspec and tenacity, for the
    Python that runs this command, with bytecode: Lambda keeps none. boto3 is the runtime's. Packages come as wheels for
    Linux, by pip, from wherever it is set up to find them.

    \b
    streamkit zip consumers.flights:flights --with aioboto3
    """
    (consumer,) = configured([path], config=config).consumers
    expect_possible(consumer)
    handler, file = handler_of(path), output or Path(f"{consumer.name}.zip")
    with TemporaryDirectory() as name:
        folder = Path(name)
        _install(folder, [*_requirements(consumer), *more], architecture)
        _copy(folder, path.partition(":")[0].partition(".")[0])
        compileall.compile_dir(
            folder, quiet=2, stripdir=name, prependdir="/var/task", invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
        )
        sizes = _sizes(folder)
        _pack(folder, file)
    click.echo(f"{shown(str(file))}: {_kilobytes(file.stat().st_size)}, unpacked {_kilobytes(sum(sizes.values()))}")
    click.echo(", ".join(f"{part} {_kilobytes(size)}" for part, size in sizes.items()))
    click.echo("for python{}.{} on ".format(*sys.version_info) + f"{architecture}, handler {handler}")


def _requirements(consumer: Consumer) -> list[str]:
    """Return what streamkit needs in a function: the very versions that are installed here."""
    names = ["msgspec", "tenacity"]
    if consumer.source.compression in ("zstd", "auto") and sys.version_info < _OWN_ZSTD:
        names.append("backports.zstd")
    return [f"{name}=={version(name)}" for name in names]


def _install(folder: Path, requirements: Sequence[str], architecture: str) -> None:
    """Have pip unpack wheels for Lambda's Linux. Raises `ConfigurationError` with what pip says."""
    machine = _MACHINES[architecture]
    platforms = [f"manylinux2014_{machine}", f"manylinux_2_28_{machine}"][: 1 + (sys.version_info >= (3, 12))]
    command = [
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
        *("--target", str(folder), "--no-compile", "--only-binary", ":all:", "--implementation", "cp"),
        *("--python-version", "{}.{}".format(*sys.version_info)),
        *(each for name in platforms for each in ("--platform", name)),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - pip of this very Python
            [*command, *requirements],
            env={**os.environ, "PIP_USER": "0"},
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"pip: expected wheels within {_LIMIT_SECONDS} s, got none") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise ConfigurationError(f"pip: expected wheels of {', '.join(requirements)}, got {said[-1]}")
    shutil.rmtree(folder / "bin", ignore_errors=True)


def _copy(folder: Path, module: str) -> None:
    """Add streamkit without what a function has no use for, and the consumer's module or package."""
    own = Path(streamkit.__file__).parent
    shutil.copytree(own, folder / "streamkit", ignore=lambda at, names: _not_for_functions(own, Path(at), names))
    metadata = folder / f"streamkit-{version('streamkit')}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: streamkit\nVersion: {version('streamkit')}\n", encoding="utf-8")
    loaded = sys.modules[module]
    for path in getattr(loaded, "__path__", ()):
        shutil.copytree(path, folder / module, ignore=_LEFT_OUT, dirs_exist_ok=True)
    if not hasattr(loaded, "__path__"):
        shutil.copy(str(loaded.__file__), folder)


def _not_for_functions(own: Path, at: Path, names: list[str]) -> set[str]:
    """Return what is left out: the command line and the test kit, and caches anywhere."""
    return {*_LEFT_OUT(str(at), names), *({"cli", "testing", "__main__.py"} if at == own else ())}


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each part. Raises `ConfigurationError` for more than Lambda takes."""
    found: dict[str, int] = {}
    for file in _files(folder):
        part = file.relative_to(folder).parts[0]
        if part == "__pycache__":  # of a module outside of any package
            part = f"{file.name.partition('.')[0]}.py"
        if not part.endswith(".dist-info"):
            found[part] = found.get(part, 0) + file.stat().st_size
    if sum(found.values()) > _MOST_BYTES:
        raise ConfigurationError(
            f"expected at most {_kilobytes(_MOST_BYTES)} unpacked, got {_kilobytes(sum(found.values()))}"
        )
    return found


def _pack(folder: Path, target: Path) -> None:
    """Write the zip: what was there before is there until the new one is whole."""
    part = target.with_name(f"{target.name}.part")
    with ZipFile(part, "w", ZIP_DEFLATED, compresslevel=9) as packed:
        for file in _files(folder):
            entry = ZipInfo(file.relative_to(folder).as_posix(), _ALWAYS_1980)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16  # whoever Lambda runs as may read it
            packed.writestr(entry, file.read_bytes())
    part.replace(target)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _kilobytes(size: int) -> str:
    return f"{size / 1024:,.0f} KB"
