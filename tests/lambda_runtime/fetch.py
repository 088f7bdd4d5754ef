"""Lambda's own runtime, from PyPI into .cache/: its interface client, and the emulator of its service.

    awslambdaric            what calls the handler in Lambda
    aws-lambda-rie-<arch>   what Lambda is to it, over HTTP; a binary inside the wheel of aws-sam-cli

Neither is a dependency: the client brings a compiled part that not every machine can have, the emulator is Linux only.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "lambda"
CLIENT = CACHE / "client"
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_EMULATOR = f"aws-lambda-rie-{_ARCHITECTURES.get(platform.machine(), 'unknown')}"
EMULATOR = CACHE / _EMULATOR
_LIMIT_SECONDS = 120
PINS = ("awslambdaric==4.2.2", "aws-sam-cli==1.135.0")


def missing() -> str | None:
    """Return why the real runtime cannot be used here, or None if it can."""
    if sys.platform != "linux":
        return f"expected Linux for the runtime interface emulator, got {sys.platform}"
    if not (CLIENT / "awslambdaric").exists() or not EMULATOR.exists():
        return "the runtime is not in .cache/lambda: `make lambda-test` fetches it"
    return None


def fetch() -> None:
    """Download what is missing. Raises `CalledProcessError`, `TimeoutExpired` where it cannot be had."""
    CACHE.mkdir(parents=True, exist_ok=True)
    client, emulator = PINS
    if not (CLIENT / "awslambdaric").exists():
        _pip("install", "--only-binary", ":all:", "--target", str(CLIENT), client)
    if not EMULATOR.exists():
        _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(CACHE), emulator)
        for wheel in CACHE.glob("aws_sam_cli-*.whl"):
            part = EMULATOR.with_suffix(".part")
            part.write_bytes(zipfile.ZipFile(wheel).read(f"samcli/local/rapid/{_EMULATOR}"))
            part.chmod(0o755)
            part.rename(EMULATOR)
            wheel.unlink()


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=_LIMIT_SECONDS)


def main() -> None:
    """Fetch what can be had; where it cannot, the tests skip and say so."""
    try:
        if sys.platform == "linux":
            fetch()
    except (subprocess.SubprocessError, KeyError, zipfile.BadZipFile, OSError) as error:
        print(f"Lambda's runtime cannot be had here, its tests will skip: {error}")  # noqa: T201 - for a terminal


if __name__ == "__main__":
    main()
