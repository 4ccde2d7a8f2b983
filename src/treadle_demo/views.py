"""What both demo sites answer, without a framework."""

import json
import os
from pathlib import Path

from treadle_demo import corpus

STORE = "treadle.sqlite3"
INPUT = "input.json"
STATIC = Path(__file__).parent / "static"
CONTENT_TYPES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


def folder() -> Path:
    """Where the demo that started this server keeps the store and the input."""
    return Path(os.environ["TREADLE_DEMO_FOLDER"])


class BadRequest(Exception):
    """Raised for a request that no view can answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def wanted_files(method: str | None, content_type: str | None, body: bytes) -> list[str]:
    """The files that a request asks to analyse: `{"input": "all"}` or `"sample"`.

    Only by POST and as JSON: a page of another site cannot send that without asking first.
    """
    if method != "POST":
        raise BadRequest(405, "use POST")
    if content_type != "application/json":
        raise BadRequest(415, "send JSON")
    try:
        return corpus.read(folder() / INPUT)[json.loads(body)["input"]].paths
    except (ValueError, KeyError, TypeError):
        raise BadRequest(400, 'send {"input": "all"} or {"input": "sample"}') from None


def ping() -> str:
    """A view with nothing to do; it names its process."""
    return str(os.getpid())


def described_input(framework: str) -> dict[str, str]:
    return {"framework": framework, "input": str(corpus.read(folder() / INPUT)["all"])}


def static_file(name: str) -> tuple[bytes, dict[str, str]]:
    """A file of the page and its headers. Raises BadRequest for any other name."""
    if name not in CONTENT_TYPES:
        raise BadRequest(404, "not found")
    headers = {
        "Content-Type": f"{CONTENT_TYPES[name]}; charset=utf-8",
        "Content-Security-Policy": "default-src 'self'; img-src data:",
        "Cache-Control": "no-cache",
    }
    return (STATIC / name).read_bytes(), headers
