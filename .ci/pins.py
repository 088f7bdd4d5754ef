"""Resolve streamkit with all its extras anew and write the result to constraints.txt: `make pins`.

One `name==version` a line, no hashes and no addresses, so that the file serves `pip install --constraint`
with any mirror. Resolved on the oldest supported Python, whose choice the newer ones can install too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
EXTRAS = "dev,local,metrics,zstd"
HEADER = f"# streamkit[{EXTRAS}] and its build, resolved on Python 3.11 by `make pins`. Do not edit.\n"


def resolve() -> dict[str, str]:
    """Ask pip for the newest versions that fit together; return them by name. Installs nothing."""
    settings = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        "-",
    ]
    answer = subprocess.run([*command, f".[{EXTRAS}]"], cwd=ROOT, env=settings, stdout=subprocess.PIPE, check=True)
    found = [package["metadata"] for package in json.loads(answer.stdout)["install"]]
    return {package["name"].lower(): package["version"] for package in found}


def main() -> None:
    """Write constraints.txt, or exit with one line that says why not."""
    if sys.version_info[:2] != OLDEST:
        got = "{}.{}".format(*sys.version_info)
        sys.exit(f"expected Python 3.11, got {got}. Try: make pins PYTHON=python3.11 VENV=.venv-pins")
    pins = resolve()
    del pins["streamkit"]
    lines = sorted(f"{name}=={version}\n" for name, version in pins.items())
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
    sys.stdout.write(f"constraints.txt: {len(lines)} packages\n")


if __name__ == "__main__":
    main()
