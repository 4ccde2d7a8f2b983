"""What the pages for people show: that which waits for a job, and the tag that follows one in any page.

They have no inline script and no inline style, so the strictest Content-Security-Policy lets them be.
"""

from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

import msgspec

from treadle.job import Job
from treadle.states import State
from treadle.web import looks
from treadle.web.looks import Look
from treadle.web.problems import Answer
from treadle.web.requests import Asked
from treadle.web.resources import Urls

RELOAD_S = 2
"""How often the page of a browser without scripts asks again."""
LAST_MESSAGES = 20
CONTENT_TYPES = {"job-progress.js": "text/javascript", "page.css": "text/css"}
FOR_A_YEAR = "public, max-age=31536000, immutable"
PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "private, no-cache",
    # The address of the page is a capability: it goes to nobody else.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept, Accept-Language",
    "X-Content-Type-Options": "nosniff",
}

_assets = {name: (files(__package__) / "static" / name).read_bytes() for name in CONTENT_TYPES}
VERSIONS = {name: sha256(content).hexdigest()[:12] for name, content in _assets.items()}
"""What stands in the address of a file, so that browsers may keep it for ever."""


def asset(name: str, version: str | None) -> Answer | None:
    """A file of the pages; None where there is none of this name."""
    if name not in CONTENT_TYPES:
        return None
    caching = FOR_A_YEAR if version == VERSIONS[name] else "no-cache"
    headers = {
        "Content-Type": f"{CONTENT_TYPES[name]}; charset=utf-8",
        "Cache-Control": caching,
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(200, headers, _assets[name])


def waiting(look: Look, urls: Urls, asked: Asked) -> dict[str, Any]:
    """What the template of the waiting page is given for a job."""
    row, words = look.row, asked.words
    is_open = not row.state.is_finished
    return {
        "language": _tag(asked),
        "title": words["title" if is_open else "title_ended"],
        "words": words,
        "is_open": is_open,
        "reload_s": RELOAD_S,
        "src": urls["status"],
        "state": _said(row, asked),
        "fraction": 1 if row.state is State.SUCCEEDED else row.progress.fraction,
        "message": row.progress.message,
        "messages": [_text(message.body) for message in look.messages[-LAST_MESSAGES:]],
        "result": urls.get("result") if row.state is State.SUCCEEDED else None,
        "cancel": urls.get("cancel") if is_open else None,
    }


def failing(asked: Asked, problem: Mapping[str, Any]) -> dict[str, Any]:
    """What the same template is given for an error."""
    return {
        "language": _tag(asked),
        "title": asked.words["title_ended"],
        "words": asked.words,
        "problem": problem["detail"],
    }


def tag(src: str, script: str, attributes: Mapping[str, Any], nonce: str | None = None) -> str:
    """`<job-progress>` and the script that makes it live; everything is escaped.

    An attribute without a value (None or False) is left out; one that is True stands alone.
    """
    given = {"src": src, **attributes}
    shown = "".join(
        _attribute(name, value) for name, value in given.items() if value is not None and value is not False
    )
    # Django's own is made when it is asked for as a text, and false before.
    named = "" if nonce is None else str(nonce)
    for_csp = f' nonce="{escape(named)}"' if named else ""
    return f'<job-progress{shown}></job-progress><script type="module" src="{escape(script)}"{for_csp}></script>'


def _attribute(name: str, value: Any) -> str:
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _tag(asked: Asked) -> str:
    return "zh-CN" if asked.language == "zh" else "en"


def _said(row: Job, asked: Asked) -> str:
    if row.state is State.FAILED:
        return looks.reason(row, asked.words, debug=asked.debug)
    if row.cancel_requested_at_us is not None and not row.state.is_finished:
        return asked.words["cancelling"]
    return asked.words[row.state]


def _text(body: Any) -> str:
    return body if isinstance(body, str) else msgspec.json.encode(body).decode()
