"""The resources of a job: what is answered when it is sent, looked at, asked for its result, and cancelled."""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from treadle import codec
from treadle.handle import JobHandle
from treadle.states import State
from treadle.web import looks, problems
from treadle.web.links import SCOPES, Grant, Links, Scope
from treadle.web.looks import Look
from treadle.web.pace import retry_after
from treadle.web.problems import Answer, problem
from treadle.web.requests import Asked

Urls = dict[str, str]
Place = Callable[[str, str], str]
"""From the name of a route and a token to the address."""

ROUTES: dict[str, Scope] = {"status": "read", "events": "read", "result": "result", "cancel": "cancel"}
"""The resources of a job, and what a link to each must allow."""


def urls_of(
    job_id: str,
    links: Links,
    place: Place,
    scopes: Collection[Scope] = SCOPES,
    *,
    owner: str | None = None,
    expires_in_s: float | None = None,
) -> Urls:
    """A link to each resource that these scopes allow; none of them opens more than its own."""
    tokens = {scope: links.token(job_id, scope, owner=owner, expires_in_s=expires_in_s) for scope in scopes}
    return {name: place(name, tokens[scope]) for name, scope in ROUTES.items() if scope in tokens}


def urls_within(grant: Grant, place: Place) -> Urls:
    """The resources that one token opens."""
    return {name: place(name, grant.token) for name, scope in ROUTES.items() if scope in grant.scopes}


def accepted(job: JobHandle[Any], urls: Urls) -> Answer:
    """The answer to the request that sent a job: 202, and where to look."""
    headers = {"Location": urls["status"], "Retry-After": "1", "Cache-Control": "no-store"}
    return _json(202, {"id": job.id, "state": job.state, "urls": urls}, headers)


def see_other(address: str) -> Answer:
    """The same to a browser that sent a form: 303 to the page that waits for the job."""
    return Answer(303, {"Location": address, "Cache-Control": "no-store", "Content-Type": "text/plain"}, b"")


def status(job: JobHandle[Any], urls: Urls, asked: Asked, now_us: int) -> Answer:
    """The job as it is now: 200 in every state, or 304 where the client has seen this version."""
    # The addresses are those of this link, and the words those of a language.
    headers = {"ETag": f'"{job.version}"', "Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Language"}
    if not job.state.is_finished:
        headers["Retry-After"] = retry_after(looks.age_s(job.row, now_us))
    if _knows(asked.headers.get("If-None-Match"), headers["ETag"]):
        return Answer(304, headers, b"")
    return _json(200, _shown(looks.look_at(job, now_us), urls, asked), headers)


def result(job: JobHandle[Any], asked: Asked, now_us: int) -> Answer:
    """What the function returned: 200; 202 while there is none; 409 with the reason where there will be none; 410 later."""
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if job.state is State.SUCCEEDED and job.row.result is None:
        return problem(problems.RESULT_GONE, asked)
    if job.state is State.SUCCEEDED:
        return _json(200, codec.plain(job.row.result or "null"), headers)
    if job.state is State.CANCELLED:
        return problem(problems.JOB_CANCELLED, asked)
    if job.state.is_finished:
        return problem(problems.JOB_FAILED, asked, looks.reason(job.row, asked.words, debug=asked.debug))
    headers["Retry-After"] = retry_after(looks.age_s(job.row, now_us))
    return _json(202, {"id": job.id, "state": job.state}, headers)


def cancel(job: JobHandle[Any], asked: Asked) -> Answer:
    """Cancel the job: 202 with its state, whether it runs, waits, or has ended; to ask twice is no error."""
    job.cancel()
    now = job.refresh()
    return _json(202, looks.state_of(now.row, asked.words, debug=asked.debug), {"Cache-Control": "no-store"})


def _shown(look: Look, urls: Urls, asked: Asked) -> dict[str, Any]:
    return {
        **looks.state_of(look.row, asked.words, debug=asked.debug),
        "progress": looks.progress_of(look),
        "parts": looks.parts_of(look),
        "messages": [looks.message_of(message) for message in look.messages],
        "urls": urls,
    }


def _knows(if_none_match: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _json(code: int, value: Any, headers: dict[str, str]) -> Answer:
    return Answer(code, {"Content-Type": "application/json", **headers}, msgspec.json.encode(value))
