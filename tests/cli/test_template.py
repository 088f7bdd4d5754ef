"""What deploys a worker: the image, and the template of an ECS service. Linted only: nothing here builds or deploys."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from streamkit.cli.template import HEALTH_CHECK

DOCKERFILE = (Path(__file__).resolve().parents[2] / "Dockerfile").read_text(encoding="utf-8")
TOOLS = Path(sys.executable).parent
Call = Callable[..., Any]


def tool(name: str) -> str:
    """A linter that is here, beside Python or on the path; skips the test where it is not."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_image_has_no_root_and_a_health_check() -> None:
    """In two stages from a slim base of a named version; the last user is a number, so that platforms can tell."""
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert stages == ["python:3.13-slim"] * 2
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert re.findall(r"^USER (\S+)", final, flags=re.MULTILINE) == ["10001"]
    assert "ADD " not in DOCKERFILE
    assert HEALTH_CHECK in final
    assert "STREAMKIT_HEALTH=8080" in final
    assert "not built" in DOCKERFILE.lower()


def test_the_image_pleases_hadolint(tmp_path: Path) -> None:
    """Where it is installed."""
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE, encoding="utf-8")
    done = subprocess.run([tool("hadolint"), str(file)], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("status", "fine"), [(200, True), (503, False)])
def test_the_health_check_fails_when_livez_does(status: int, *, fine: bool) -> None:
    """Its very command, at a server of our own."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        check = HEALTH_CHECK.replace("8080", str(server.server_address[1]))
        done = subprocess.run([sys.executable, "-c", check], stderr=subprocess.DEVNULL, check=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (done.returncode == 0) is fine


def test_the_template_runs_the_consumer_as_it_has_to_be_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped later than its grace period ends, watched by /livez, with the rights of `streamkit iam`."""
    monkeypatch.setenv("STREAMKIT_GRACE", "40s")
    resources = json.loads(call("template", "ecs", "shop:orders").out)["Resources"]
    [worker] = resources["Task"]["Properties"]["ContainerDefinitions"]
    assert worker["Command"] == ["shop:orders"]
    assert worker["StopTimeout"] > 40
    assert worker["HealthCheck"]["Command"] == ["CMD", "python", "-c", HEALTH_CHECK]
    [inline] = resources["TaskRole"]["Properties"]["Policies"]
    allowed = [(each["Sid"], each["Action"]) for each in inline["PolicyDocument"]["Statement"]]
    printed = json.loads(call("iam", "shop:orders").out)["Statement"]
    assert allowed == [(each["Sid"], each["Action"]) for each in printed]


def test_the_template_pleases_cfn_lint(call: Call, tmp_path: Path) -> None:
    """Where it is installed."""
    file = tmp_path / "template.json"
    file.write_text(call("template", "ecs", "shop:orders").out, encoding="utf-8")
    done = subprocess.run([tool("cfn-lint"), str(file)], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
