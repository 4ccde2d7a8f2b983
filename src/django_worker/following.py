"""What a view and a template say so that a browser follows a job."""

from collections.abc import Collection
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString, mark_safe

from django_worker.owners import owner
from django_worker.site import site
from django_worker.views import asked, asset_url, place, respond
from treadle.handle import JobHandle
from treadle.web import pages, resources
from treadle.web.links import SCOPES, Scope, scopes_of


def urls(
    job: JobHandle[Any],
    scopes: Collection[Scope] = SCOPES,
    *,
    bound_to: HttpRequest | None = None,
    expires_in_s: float | None = None,
) -> dict[str, str]:
    """Signed links to a job, each of which opens nothing else: `status` and `events`, `result`, `cancel`.

    `bound_to`: they are good only for who makes this request: the user, or where nobody is logged in the session.
    `expires_in_s`: sooner than the option LINK_MAX_AGE_S.
    """
    links, whose = site(job.row.alias).links, owner(bound_to) if bound_to is not None else None
    return resources.urls_of(job.id, links, place, scopes, owner=whose, expires_in_s=expires_in_s)


def accepted(
    request: HttpRequest,
    job: JobHandle[Any],
    scopes: Collection[Scope] = SCOPES,
    *,
    bound: bool = False,
    expires_in_s: float | None = None,
) -> HttpResponse:
    """What a view that sent a job returns: 202 with the links to it; a browser's form is led to a page that waits.

    What the links and the page allow is in `scopes`; `read` is in any case. `bound`: to who makes this request.
    """
    chosen: set[Scope] = {"read", *scopes}
    bound_to = request if bound else None
    if asked(request).wants_page:
        return respond(request, resources.see_other(_link(job, chosen, bound_to, expires_in_s)))
    links = urls(job, chosen, bound_to=bound_to, expires_in_s=expires_in_s)
    return respond(request, resources.accepted(job, links))


def progress(
    job: JobHandle[Any],
    *,
    cancel: bool = False,
    result: bool = False,
    bound_to: HttpRequest | None = None,
    expires_in_s: float | None = None,
    nonce: str | None = None,
    **attributes: Any,
) -> SafeString:
    """The element that follows the job, and its script: what `{% job_progress job %}` shows.

    `cancel`, `result`: with a button to cancel it, with a link to what it returned. `nonce`: for a
    Content-Security-Policy that asks for one. Others are attributes of the element: `label`, `messages`, `lang`,
    `class_`. For `bound_to` and `expires_in_s` see `urls`.
    """
    scopes = scopes_of(cancel=cancel, result=result)
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    link = _link(job, scopes, bound_to, expires_in_s)
    # Everything in it is escaped.
    return mark_safe(pages.tag(link, asset_url("job-progress.js"), given, nonce))  # noqa: S308


def _link(
    job: JobHandle[Any], scopes: Collection[Scope], bound_to: HttpRequest | None, expires_in_s: float | None
) -> str:
    """One link that allows all of this, for a page."""
    whose = owner(bound_to) if bound_to is not None else None
    token = site(job.row.alias).links.token(job.id, *sorted(scopes), owner=whose, expires_in_s=expires_in_s)
    return place("status", token)
