"""The resources of a job: what is answered when it is sent, looked at, and asked for its result."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from treadle import codec
from treadle.errors import JobNotFound
from treadle.handle import JobHandle
from treadle.states import State

RETRY_AFTER_S = 1

Urls = dict[str, str]


class Answer(NamedTuple):
    """An HTTP response for the integration to give."""

    status: int
    headers: dict[str, str]
    body: bytes


def accepted(job: JobHandle[Any], urls: Urls) -> Answer:
    """The answer to the request that sent a job: 202, and where to look."""
    headers = {"Location": urls["status"], "Retry-After": str(RETRY_AFTER_S)}
    return _json(202, {"id": job.id, "state": job.state, "urls": urls}, headers)


def status(job: JobHandle[Any], urls: Urls, if_none_match: str | None, *, debug: bool = False) -> Answer:
    """The job as it is now: 200 in every state, or 304 where the client has seen this version."""
    headers = {"ETag": f'"{job.version}"', "Cache-Control": "private, no-cache"}
    if not job.state.is_finished:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if _knows(if_none_match, headers["ETag"]):
        return Answer(304, headers, b"")
    return _json(200, _shown(job, urls, debug), headers)


def result(job: JobHandle[Any], *, debug: bool = False) -> Answer:
    """What the function returned: 200; 202 while there is none; 409 with the reason where there will be none; 410 later."""
    headers = {"Cache-Control": "private, no-cache"}
    if job.state is State.SUCCEEDED and job.row.result is None:
        return problem(410, "The job has succeeded; what it returned was not kept any longer.")
    if job.state is State.SUCCEEDED:
        return _json(200, codec.plain(job.row.result or "null"), headers)
    if job.state.is_finished:
        return problem(409, f"The job was {job.state}." if job.error is None else _reason(job, debug))
    return _json(202, {"id": job.id, "state": job.state}, {**headers, "Retry-After": str(RETRY_AFTER_S)})


def problem(code: int, title: str) -> Answer:
    """An error in the form of RFC 9457."""
    body = msgspec.json.encode({"type": "about:blank", "title": title, "status": code})
    return Answer(code, {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}, body)


def or_not_found(answer: Callable[[], Answer]) -> Answer:
    """The answer, or 404: the same for an unknown job and for a forged, expired or foreign link."""
    try:
        return answer()
    except JobNotFound:
        return problem(404, "There is no such job, or the link to it has expired.")


def _shown(job: JobHandle[Any], urls: Urls, debug: bool) -> dict[str, Any]:
    progress = job.progress
    return {
        "id": job.id,
        "state": job.state,
        # A job that runs may take a moment to end, or in a thread as long as it likes.
        "cancel_requested": job.cancel_requested_at is not None,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "fraction": progress.fraction,
            "message": progress.message,
        },
        "messages": [{"number": m.number, "body": m.body} for m in job.messages],
        "error": _reason(job, debug) if job.error else None,
        "urls": urls,
    }


def _reason(job: JobHandle[Any], debug: bool) -> str:
    """Why a job failed. An error's own text may hold what the follower must not see: it is for debugging."""
    return str(job.error) if debug else "The job failed."


def _knows(if_none_match: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _json(code: int, value: Any, headers: dict[str, str]) -> Answer:
    return Answer(code, {"Content-Type": "application/json", **headers}, msgspec.json.encode(value))
