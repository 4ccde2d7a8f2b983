"""Errors as RFC 9457 has them: a name for programs, and a sentence for people in their language."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from treadle.errors import JobNotFound
from treadle.web.requests import Asked

TYPE = "urn:treadle:problem:"
"""Before the names that docs/browser.md explains."""


T = TypeVar("T")


class Answer(NamedTuple):
    """An HTTP response for the integration to give."""

    status: int
    headers: dict[str, str]
    body: bytes


class Problem(NamedTuple):
    """A kind of error."""

    status: int
    name: str
    title: str
    words: str
    """The key of its sentence in `treadle.web.words`."""


NOT_FOUND = Problem(404, "job-not-found", "Job not found", "not_found")
CROSS_SITE = Problem(403, "cross-site-request", "Request from another site", "cross_site")
BAD_REQUEST = Problem(400, "bad-request", "Bad request", "bad_request")
RESULT_GONE = Problem(410, "result-gone", "Result not kept", "gone")
JOB_FAILED = Problem(409, "job-failed", "Job failed", "failed")
JOB_CANCELLED = Problem(409, "job-cancelled", "Job cancelled", "cancelled")

BUSY = Problem(503, "busy", "Busy", "busy")

PROBLEMS = (NOT_FOUND, CROSS_SITE, BAD_REQUEST, RESULT_GONE, JOB_FAILED, JOB_CANCELLED, BUSY)


def problem(kind: Problem, asked: Asked, detail: str | None = None) -> Answer:
    """The answer that tells of an error; `detail` in place of the sentence that it has by itself."""
    body = {
        "type": f"{TYPE}{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or asked.words[kind.words],
    }
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Language": asked.language,
        "Cache-Control": "no-store",
        "Vary": "Accept, Accept-Language",
    }
    return Answer(kind.status, headers, msgspec.json.encode(body))


def busy(asked: Asked) -> Answer:
    """The answer where as many calls wait in a pool as may (`QueueFull`): 503, and to come again in a second."""
    answer = problem(BUSY, asked)
    return answer._replace(headers={**answer.headers, "Retry-After": "1"})


def or_problem(asked: Asked, answer: Callable[[], T]) -> T | Answer:
    """The answer; or 404, the same for an unknown job and for a forged, expired or foreign link.

    What a page of another site makes a browser ask is refused before.
    """
    if asked.is_cross_site:
        return problem(CROSS_SITE, asked)
    try:
        return answer()
    except JobNotFound:
        return problem(NOT_FOUND, asked)
