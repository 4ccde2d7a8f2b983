"""The resources of a job. Each is reached through a signed link only.

They are exempt from Django's CSRF check, since who has no link can do nothing, and a page of another site is refused by
what its browser says of it (`treadle.web.requests`).
"""

import contextlib
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template import Context, Engine, TemplateDoesNotExist
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from django_worker.owners import owners
from django_worker.site import DjangoTreadle, our_aliases, site
from treadle.clock import SystemClock
from treadle.errors import JobNotFound, TreadleError
from treadle.handle import JobHandle
from treadle.web import pages
from treadle.web.desk import Desk, Events, Found, Page
from treadle.web.events import HEADERS
from treadle.web.held import held
from treadle.web.links import Scope
from treadle.web.pace import Pace
from treadle.web.pages import PAGE_HEADERS
from treadle.web.problems import NOT_FOUND, Answer, problem
from treadle.web.requests import Asked
from treadle.web.watching import Watcher

TEMPLATE = "django_worker/job.html"

pace = Pace()
_watchers: "WeakKeyDictionary[DjangoTreadle, Watcher]" = WeakKeyDictionary()


@csrf_exempt
@require_http_methods(["GET", "HEAD", "DELETE"])
def status(request: HttpRequest, token: str) -> HttpResponse:
    return respond(request, _desk(request).status(token))


@require_safe
def result(request: HttpRequest, token: str) -> HttpResponse:
    return respond(request, _desk(request).result(token))


@csrf_exempt
@require_http_methods(["POST", "DELETE"])
def cancel(request: HttpRequest, token: str) -> HttpResponse:
    return respond(request, _desk(request).cancel(token))


@require_safe
def events(request: HttpRequest, token: str) -> HttpResponseBase:
    return _events(request, [token])


@require_safe
def all_events(request: HttpRequest) -> HttpResponseBase:
    """Several jobs in one stream: `?job=TOKEN&job=TOKEN`."""
    return _events(request, request.GET.getlist("job"))


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:
    found = pages.asset(name, request.GET.get("v"))
    return respond(request, found or problem(NOT_FOUND, asked(request)))


def respond(request: HttpRequest, answer: Answer | Page) -> HttpResponse:
    """The Django response of an answer."""
    if isinstance(answer, Answer):
        return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
    shown = {"page": answer.shown, "script": asset_url("job-progress.js"), "style": asset_url("page.css")}
    headers = {**PAGE_HEADERS, **answer.headers}
    return HttpResponse(_rendered(request, shown), status=answer.status, headers=headers)


def _rendered(request: HttpRequest, shown: dict[str, Any]) -> str:
    """The page by the site's template, or by ours; also where the site's engines do not look into apps."""
    try:
        return render_to_string(TEMPLATE, shown, request)
    except TemplateDoesNotExist:
        return Engine(dirs=[str(Path(__file__).parent / "templates")]).get_template(TEMPLATE).render(Context(shown))


def asked(request: HttpRequest) -> Asked:
    trusted = tuple(settings.CSRF_TRUSTED_ORIGINS)
    return Asked(request.method or "GET", request.get_host(), request.headers, settings.DEBUG, trusted)


def place(name: str, token: str) -> str:
    return reverse(f"django_worker:{name}", args=[token])


def asset_url(name: str) -> str:
    return f"{reverse('django_worker:asset', args=[name])}?v={pages.VERSIONS[name]}"


def _desk(request: HttpRequest) -> Desk:
    return Desk(asked(request), partial(_find, request), place, SystemClock().now_us())


def _find(request: HttpRequest, token: str, scope: Scope) -> Found:
    """The job of a token, whichever alias keeps it. Raises JobNotFound."""
    aliases = our_aliases()
    for alias in aliases:
        treadle = site(alias)
        with contextlib.suppress(JobNotFound):
            grant = treadle.links.opened(token, scope, partial(owners, request))
            job: JobHandle[Any] = treadle.job(grant.job_id)
            # Aliases of one database find each other's jobs; how old a link may be is said by the job's own.
            if job.row.alias == alias or job.row.alias not in aliases:
                return grant, job
    raise JobNotFound("no alias keeps this job")


def _events(request: HttpRequest, tokens: Sequence[str]) -> HttpResponseBase:
    last = request.headers.get("Last-Event-ID") or request.GET.get("after")
    found = _desk(request).events(tokens, last, pace)
    # HEAD is answered at once: there will be no body to wait for.
    if isinstance(request, ASGIRequest) and request.method == "GET" and found.goes_on:
        return _held(found) or respond(request, found.answer)
    return respond(request, found.answer)


def _held(found: Events) -> HttpResponseBase | None:
    """The answer that goes on; None where nobody could watch, as in a test's database in memory."""
    if found.stream is None:
        return None
    watchers: dict[Watcher, set[str]] = {}
    try:
        for job in found.jobs:
            watchers.setdefault(_watcher(job.row.alias), set()).add(job.id)
    except TreadleError:
        return None
    _let_go_of_connections()
    # No middleware may gather or compress what is to arrive at once.
    headers = {**HEADERS, "Content-Encoding": "identity"}
    return StreamingHttpResponse(held(found.stream, found.answer.body, watchers), headers=headers)


def _watcher(alias: str) -> Watcher:
    """That of an alias, with its store open. Raises a TreadleError."""
    treadle = site(alias)
    watcher = _watchers.setdefault(treadle, Watcher(lambda: treadle.worker_store))
    watcher.open()
    return watcher


def _let_go_of_connections() -> None:
    """The request goes on for minutes, and needs none: the watcher has one for all."""
    idle: Collection[Any] = [each for each in connections.all(initialized_only=True) if not each.in_atomic_block]
    for connection in idle:
        connection.close()
