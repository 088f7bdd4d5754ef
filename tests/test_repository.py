"""What whoever clones the repository may rely on: it builds anywhere, from any mirror, from plain pins."""

import importlib.metadata
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

LOCK_FILES = {
    "Pipfile.lock",
    "package-lock.json",
    "pdm.lock",
    "poetry.lock",
    "pylock.toml",
    "uv.lock",
    "yarn.lock",
}
REGISTRY = re.compile(
    r"pypi[.]org|pythonhoste[d]|npmjs[.](?:org|com)|--(?:extra-)?index-ur[l]|--find-link[s]|https?://[^\s/]+/simple\b"
)
MACHINE = re.compile(r"(?<![\w.~$}>-])/(?:home|root|Users|work)/\w")
PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.]*")


def files() -> list[Path]:
    """Every file that belongs to the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if answer.returncode:
        pytest.fail("expected a git repository around the tests, got none")
    paths = (ROOT / name for name in answer.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def lines() -> Iterator[tuple[str, str]]:
    """Every line of text, with the place where it stands; data files have no say."""
    for path in files():
        if path.suffix in {".csv", ".gz", ".zip", ".png"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def pins() -> dict[str, str]:
    """The pinned versions by normalised name."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in text if not line.startswith("#"))
    return {_normal(name): version for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(requirement: str) -> str:
    return _normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])


def test_no_file_names_a_registry() -> None:
    """Packages come from wherever the user's pip and npm are set up to find them."""
    assert [(place, line) for place, line in lines() if REGISTRY.search(line)] == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    """Nothing works only where it was written."""
    assert [(place, line) for place, line in lines() if MACHINE.search(line)] == []


@pytest.mark.parametrize("line", ["see https://pypi" + ".org/project/x", "-r https://mirror.example" + "/simple/"])
def test_a_registry_would_be_found(line: str) -> None:
    """The check above can fail."""
    assert REGISTRY.search(line)


@pytest.mark.parametrize("line", ["data = '/home" + "/ann/x'", "cd /root" + "/project"])
def test_a_place_on_a_machine_would_be_found(line: str) -> None:
    """The check above can fail."""
    assert MACHINE.search(line)


def test_there_is_no_lock_file() -> None:
    """One tool's lock file would hold a registry's addresses and a second truth beside constraints.txt."""
    assert [path.name for path in files() if path.name in LOCK_FILES] == []


def test_constraints_are_plain_pins_in_order() -> None:
    """Any installer can read them, and a change shows as one line."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in text if not line.startswith("#")]
    assert [line for line in pinned if not PIN.fullmatch(line)] == []
    assert pinned == sorted(pinned)


def test_every_dependency_is_pinned_and_the_project_itself_is_not() -> None:
    """`make pins` was run after the last change of the dependencies."""
    extras = PROJECT["optional-dependencies"].values()
    wanted = {_name(line) for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]}
    assert wanted - pins().keys() == set()
    assert PROJECT["name"] not in pins()


def test_what_runs_here_is_what_is_pinned() -> None:
    """The tests speak about the pinned versions, not about others that happen to be installed."""
    names = {_name(line) for line in PROJECT["dependencies"]}
    assert {name: importlib.metadata.version(name) for name in names} == {name: pins()[name] for name in names}


def test_the_installed_version_is_the_projects() -> None:
    """`streamkit --version` and the wheel tell one version, and the changelog knows it or what comes next."""
    assert importlib.metadata.version("streamkit") == PROJECT["version"]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_somebody_who_finds_a_hole_finds_where_to_report_it() -> None:
    """SECURITY.md says how, and the licence is the one that pyproject.toml names."""
    assert "report" in (ROOT / "SECURITY.md").read_text(encoding="utf-8").lower()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
