"""Calling a WSGI application with a request that came over aiohttp. Source: PEP 3333."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Asked(NamedTuple):
    """A request. `path` is decoded, `raw_path` is as it came, query string included."""

    method: str
    path: str
    raw_path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    host: str
    port: int

    def header(self, name: str) -> str:
        """Return the value of a header, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


class Answered(NamedTuple):
    """An answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def call(application: Application, asked: Asked) -> Answered:
    """Run the application on this thread and collect its answer."""
    status, headers = "500 No answer", list[tuple[str, str]]()

    def start(given: str, given_headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = given, given_headers
        return chunks.append

    chunks = list[bytes]()
    iterable = application(_environ(asked), start)
    try:
        chunks.extend(iterable)
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()
    return Answered(int(status.split(" ", 1)[0]), headers, b"".join(chunks))


def _environ(asked: Asked) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": asked.path.encode().decode("latin-1"),
        "QUERY_STRING": asked.query,
        "RAW_URI": asked.raw_path,
        "REQUEST_URI": asked.raw_path,
        "SERVER_NAME": asked.host,
        "SERVER_PORT": str(asked.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(asked.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(asked.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in asked.headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
