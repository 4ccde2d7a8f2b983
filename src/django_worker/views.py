"""The resources of a job. Each is reached through a signed link only."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from django_worker.site import our_aliases, site
from treadle.errors import JobNotFound
from treadle.handle import JobHandle
from treadle.web import resources
from treadle.web.resources import Answer, Urls


@require_safe
def status(request: HttpRequest, token: str) -> HttpResponse:
    seen = request.headers.get("If-None-Match")
    return _answer(token, lambda job, urls: resources.status(job, urls, seen, debug=settings.DEBUG))


@require_safe
def result(request: HttpRequest, token: str) -> HttpResponse:
    return _answer(token, lambda job, urls: resources.result(job, debug=settings.DEBUG))


def respond(answer: Answer) -> HttpResponse:
    """The Django response of an answer."""
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def _answer(token: str, look: Callable[[JobHandle[Any], Urls], Answer]) -> HttpResponse:
    def look_at_job() -> Answer:
        urls = {name: reverse(f"django_worker:{name}", args=[token]) for name in ("status", "result")}
        return look(_find(token), urls)

    return respond(resources.or_not_found(look_at_job))


def _find(token: str) -> JobHandle[Any]:
    """The job of a token, whichever alias keeps it. Raises JobNotFound."""
    for alias in our_aliases():
        treadle = site(alias)
        try:
            return treadle.job(treadle.links.job_id(token))
        except JobNotFound:
            continue
    raise JobNotFound("no alias keeps this job")
